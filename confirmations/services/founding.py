"""Networks, contracts and signers as they come to be known."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import transaction
from uuid_utils.compat import uuid7

from confirmations.models import Contract, Network, Signer
from confirmations.services import capturing
from confirmations.services.calling import call_reader
from events import audit, log


def network(chain_id: int, name: str, options: Mapping[str, Any]) -> Network:
    """The row of a network, made or brought to these options; the first one is where results go by default."""
    with transaction.atomic():
        found, made = Network.objects.get_or_create(chain_id=chain_id, defaults={"name": name, **options})
        if not made:
            for field, value in options.items():
                setattr(found, field, value)
            found.save()
        if not Network.objects.filter(default=True).exists():
            found.default = True
            found.save(update_fields=["default"])
    return found


def contract(of: Network, address: bytes, deploy_block: int) -> Contract:
    """The row of a contract; its logs are read from the block on in which it was made."""
    with transaction.atomic():
        found, made = Contract.objects.get_or_create(
            network=of,
            address=address,
            defaults={"id": uuid7(), "deploy_block": deploy_block, "next_block": deploy_block},
        )
        if made:
            _audit("contract.add", "contract", found.id, {"network": of.chain_id, "address": str(found)})
    return found


def signer(of: Network, address: bytes, *, backend: str, key: str, nonce: int) -> Signer:
    """The row of a signer. `nonce`: what the chain expects of it next."""
    with transaction.atomic():
        found, made = Signer.objects.get_or_create(
            network=of,
            address=address,
            defaults={"id": uuid7(), "backend": backend, "key": key, "next_nonce": nonce, "mined_nonce": nonce},
        )
        if made:
            _audit("signer.add", "signer", found.id, {"network": of.chain_id, "address": str(found)})
        # Jobs that were done before there was any of this are taken up at once.
        with log.cursor() as cur:
            cur.execute("update events_consumer set retry_at = null where name = 'confirmations'")
        for contract_id, turn in capturing.unread():
            call_reader(contract_id, turn)
    return found


def _audit(action: str, subject: str, subject_id: UUID, data: Mapping[str, Any]) -> None:
    audit.record(action=action, actor="system", subject_type=subject, subject_id=subject_id, data=data)
