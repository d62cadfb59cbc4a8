"""People of the staff, and rows of the chain that no node has seen, for the tests of this admin."""

import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from uuid_utils.compat import uuid7

from confirmations.models import (
    Attempt,
    Confirmation,
    Contract,
    Network,
    ScannedRange,
    Signer,
    Transaction,
)
from confirmations.services.asked import ACTIONS
from confirmations.states import Standing, Step, Try
from jobplatform.admin.people import set_up_groups
from jobs import services
from jobs.models import Intervention, Job
from jobs.services import JobRequest
from jobs.states import PLATFORM

PROJECT = UUID(int=7)
GWEI, ETHER = 10**9, 10**18


def person(name: str, group: str = "") -> Client:
    set_up_groups()
    user = User.objects.create_user(name, is_staff=True)
    if group:
        user.groups.set([Group.objects.get(name=group)])
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def root() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def operator() -> Client:
    return person("olga", "operators")


@pytest.fixture
def viewer() -> Client:
    return person("vera", "viewers")


@pytest.fixture
def stranger() -> Client:
    return person("stan")


@pytest.fixture
def network() -> Network:
    return Network.objects.create(
        chain_id=31337, name="anvil", default=True, head=1_250, final=1_240, seen_at=timezone.now()
    )


@pytest.fixture
def contract(network: Network) -> Contract:
    row = Contract.objects.create(
        id=uuid7(), network=network, address=b"\xcc" * 20, deploy_block=1_000, next_block=1_201, lease_no=4,
        lease_by=UUID(int=5), lease_until=timezone.now() + dt.timedelta(seconds=20), swept_to=1_100, sweep_misses=2,
        strangers=3, span={"blocks": 1_500, "most": 10_000, "learned_at": 0.0},
    )  # fmt: skip
    ScannedRange.objects.create(contract=row, first=1_000, last=1_149)
    ScannedRange.objects.create(contract=row, first=1_151, last=1_200)
    return row


@pytest.fixture
def signer(network: Network) -> Signer:
    return make_signer(network, 1)


def make_signer(network: Network, number: int, **columns: Any) -> Signer:
    given: dict[str, Any] = {"balance": Decimal(3 * ETHER), "next_nonce": 9, "mined_nonce": 7, "key": "signer.json"}
    return Signer.objects.create(id=uuid7(), network=network, address=bytes([number] * 20), **given | columns)


def make_tx(signer: Signer, contract: Contract, nonce: int, step: str = Step.SENT, **columns: Any) -> Transaction:
    given: dict[str, Any] = {"mode": "single", "data": b"call", "count": 1, "step": step}
    return Transaction.objects.create(id=uuid7(), signer=signer, contract=contract, nonce=nonce, **given | columns)


def make_attempt(tx: Transaction, number: int = 1, **columns: Any) -> Attempt:
    given: dict[str, Any] = {
        "raw": b"raw", "hash": tx.id.bytes + number.to_bytes(16), "tip": GWEI, "fee": 20 * GWEI, "gas": 50_000,
        "state": Try.SENT, "sends": 2,
    }  # fmt: skip
    return Attempt.objects.create(transaction=tx, number=number, **given | columns)


def make_confirmation(
    signer: Signer, contract: Contract, tx: Transaction | None = None, **columns: Any
) -> Confirmation:
    given: dict[str, Any] = {
        "id": uuid7(), "project_id": PROJECT, "mode": "single", "result_hash": b"\xab" * 32, "kind": "order.book",
        "standing": Standing.WAITING if tx is None else Standing.SENT, "position": None if tx is None else 0,
    }  # fmt: skip
    return Confirmation.objects.create(signer=signer, contract=contract, transaction=tx, **given | columns)


def ask(subject: str, subject_id: Any, reason: str = "refused_fatal") -> Intervention:
    return Intervention.objects.create(
        id=uuid7(), subject_type=subject, subject_id=str(subject_id), reason=reason, actions=list(ACTIONS[subject]),
        evidence={"said": "no"},
    )  # fmt: skip


def make_job(**columns: Any) -> Job:
    """A job of the platform's own, which any deployment knows."""
    submitted = services.submit_many(
        project_id=PLATFORM, requests=[JobRequest("confirmation.send", {"signer_id": str(uuid7())})], accepted=True
    )[0]
    Job.objects.filter(id=submitted.id).update(**columns)
    return Job.objects.get(id=submitted.id)


def listing(client: Client, name: str, **query: str) -> str:
    answer = client.get(reverse(f"admin:confirmations_{name}_changelist"), query)
    assert answer.status_code == 200, (name, query)
    return answer.content.decode()


def address(row: Any) -> str:
    return reverse(f"admin:confirmations_{row._meta.model_name}_change", args=(row.pk,))


def page_of(client: Client, row: Any) -> str:
    answer = client.get(address(row))
    assert answer.status_code == 200
    return answer.content.decode()


def shown(page: str, rows: list[Any]) -> list[Any]:
    return [row for row in rows if address(row) in page]


def act(signer: Signer, name: str) -> str:
    return reverse(f"admin:confirmations_signer_{name}", args=(signer.id,))


def decision(asked: Intervention, action: str) -> str:
    return reverse("admin:jobs_intervention_decide", args=(asked.id, action))


def said(answer: Any) -> str:
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


@pytest.fixture
def filled(signer: Signer, contract: Contract) -> list[Any]:
    """A row of each sort, and what hangs on it."""
    tx = make_tx(signer, contract, 8, Step.STUCK, reason="refused_fatal")
    make_attempt(tx, state=Try.REFUSED, reply="fatal", said="invalid sender")
    confirmation = make_confirmation(signer, contract, tx)
    return [signer, tx, confirmation, contract, signer.network]
