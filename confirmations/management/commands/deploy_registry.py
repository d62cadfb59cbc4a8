"""manage.py deploy_registry: make a network, its JobRegistry and a signer known, and make what is not there."""

import json
import os
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from confirmations import deploying, keys, registry, signing
from confirmations.errors import ConfirmationsError
from confirmations.gateway.chain import Chain, chain
from confirmations.gateway.node import Node
from confirmations.keys import Key
from confirmations.models import Contract, Network, Signer
from confirmations.results import shown
from confirmations.services import founding
from confirmations.states import Finality

FUNDS = 10**20  # wei: what a signer of a development chain is given


class Command(BaseCommand):
    help = "Make a network, its contract JobRegistry and a signer known; deploy the contract unless it is there."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--name", default="", help="how the network is called; chain-<id> by default")
        parser.add_argument("--finality", choices=[f.value for f in Finality], default=Finality.FINALIZED)
        parser.add_argument("--depth", type=int, default=64, help="blocks on top, where the finality is depth")
        parser.add_argument("--block-seconds", type=float, default=12.0)
        parser.add_argument("--batch-seconds", type=float, default=2.0, help="a batch waits so long for others")
        parser.add_argument("--anchor-seconds", type=float, default=10.0, help="an anchor waits so long for others")
        parser.add_argument("--bump-seconds", type=float, default=60.0, help="unmined for so long: higher fees")
        parser.add_argument("--address", default="", help="a JobRegistry that is there already")
        parser.add_argument("--key", default="signer.json", help="file in KEYSTORE_DIR; made if it is not there")
        parser.add_argument("--kms", default="", help="a key of AWS KMS instead")
        parser.add_argument("--allow", action="store_true", help="enter the contract into bounds.json beside the keys")
        parser.add_argument("--fund", action="store_true", help="give the signer money; on a development chain (anvil)")
        parser.add_argument("--wait", type=float, default=300.0, help="seconds until the contract must be there")

    def handle(self, **options: Any) -> None:
        """Do it; what is there already stays."""
        if not settings.RPC_URLS:
            message = "RPC_URL names no node."
            raise CommandError(message)
        try:
            chain_id = int(Node(settings.RPC_URLS[0]).call("eth_chainId"), 16)
            net = chain(chain_id)
            key = self._key(options)
            if options["fund"]:
                net.nodes.call("anvil_setBalance", shown(key.address), hex(FUNDS))
            network = founding.network(chain_id, options["name"] or f"chain-{chain_id}", _options(options))
            contract = self._contract(net, network, key, options)
            signer = founding.signer(
                network,
                key.address,
                backend="kms" if options["kms"] else "keystore",
                key=options["kms"] or options["key"],
                nonce=net.account(key.address).nonce,
            )
        except ConfirmationsError as error:
            raise CommandError(str(error)) from None
        if options["allow"]:
            _allow(chain_id, bytes(contract.address))
        self._say(network, contract, signer)

    @staticmethod
    def _key(options: dict[str, Any]) -> Key:
        if options["kms"]:
            return signing.key("kms", options["kms"])
        path = Path(settings.KEYSTORE_DIR) / options["key"]
        if settings.KEYSTORE_DIR and not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            keys.write_keystore(path, secrets.token_bytes(32), signing.passphrase())
        return signing.key("keystore", options["key"])

    def _contract(self, net: Chain, network: Network, key: Key, options: dict[str, Any]) -> Contract:
        if options["address"]:
            address = bytes.fromhex(options["address"].removeprefix("0x"))
            if not registry.is_ours(net.code(address)):
                message = f"At {options['address']} there is no JobRegistry of this version."
                raise CommandError(message)
            return founding.contract(network, address, net.head())
        for known in Contract.objects.filter(network=network, active=True):
            if registry.is_ours(net.code(bytes(known.address))):
                return known
        address, block = deploying.deploy(net, key, chain_id=network.chain_id, wait_seconds=options["wait"])
        return founding.contract(network, address, block)

    def _say(self, network: Network, contract: Contract, signer: Signer) -> None:
        self.stdout.write(f"Network   {network}, final by {network.finality}")
        self.stdout.write(f"Contract  {contract}, since block {contract.deploy_block}")
        self.stdout.write(f"Signer    {signer}, next nonce {signer.next_nonce}")


def _options(options: dict[str, Any]) -> dict[str, Any]:
    names = ("finality", "depth", "block_seconds", "batch_seconds", "anchor_seconds", "bump_seconds")
    return {name: options[name] for name in names}


def _allow(chain_id: int, address: bytes) -> None:
    """Enter a contract into the bounds of the keys, with bounds of a development chain where there are none yet."""
    path = Path(settings.KEYSTORE_DIR) / signing.BOUNDS
    told: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    found = told.setdefault(str(chain_id), {"contracts": [], "fee_gwei": 500, "gas": 16_000_000, "ether_a_day": 10_000})
    if shown(address) not in found["contracts"]:
        found["contracts"].append(shown(address))
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(told, file, indent=1)
