"""manage.py verify_proof: check a proof, as `GET jobs/{id}/proof` gives it, against a node."""

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from eth_hash.auto import keccak
from web3 import HTTPProvider, Web3
from web3.exceptions import TransactionNotFound, Web3Exception
from web3.types import TxReceipt

from confirmations import merkle, registry
from confirmations.results import job_bytes
from confirmations.states import Mode


class Command(BaseCommand):
    help = "Verify the proof of a job's result against a node, without asking the platform's own tables."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("proof", help="a file with the proof; - reads it from the standard input")
        parser.add_argument("--rpc", default="", help="the node that is asked; by default the first of RPC_URL")

    def handle(self, **options: Any) -> None:
        """Say what the proof proves; fails with the reason where it proves nothing."""
        text = sys.stdin.read() if options["proof"] == "-" else Path(options["proof"]).read_text()
        url = options["rpc"] or next(iter(settings.RPC_URLS), "")
        if not url:
            message = "No node is named: --rpc or RPC_URL."
            raise CommandError(message)
        try:
            proof: dict[str, Any] = json.loads(text)
            block, head = check(proof, Web3(HTTPProvider(url)))
        except ValueError as error:
            raise CommandError(str(error)) from None
        except KeyError as error:
            message = f"The proof has no {error}."
            raise CommandError(message) from None
        except (Web3Exception, OSError) as error:
            message = f"The node does not answer as it should: {type(error).__name__}"
            raise CommandError(message) from None
        self.stdout.write(f"Verified: job {proof['job_id']} stands in block {block}, with {head - block} on top.")


def check(proof: dict[str, Any], node: Web3) -> tuple[int, int]:
    """The block that a proof leads to, and the head. Raises ValueError: it proves nothing, and why."""
    said = json.loads(proof["preimage"])
    job, result = bytes.fromhex(proof["job"][2:]), bytes.fromhex(proof["result_hash"][2:])
    if keccak(proof["preimage"].encode()) != result:
        _refuse("The hash is not that of the result.")
    if job_bytes(UUID(said["id"])) != job:
        _refuse("The result is another job's.")
    subject, value, topic = job, result, registry.JOB_CONFIRMED
    if proof["mode"] == Mode.ANCHOR:
        root = bytes.fromhex(proof["root"][2:])
        if not merkle.verify(root, merkle.leaf(job, result), [bytes.fromhex(item[2:]) for item in proof["path"]]):
            _refuse("The path does not lead to the root.")
        subject, value, topic = root, int(proof["leaves"]).to_bytes(32, "big"), registry.ROOT_ANCHORED
    if node.eth.chain_id != proof["network"]:
        _refuse(f"The node is of chain {node.eth.chain_id}, not of {proof['network']}.")
    if proof["transaction"] is None:
        _refuse("It stands in no transaction yet.")
    try:
        receipt = node.eth.get_transaction_receipt(proof["transaction"])
    except TransactionNotFound:
        _refuse("The node does not know the transaction.")
    if receipt["status"] != 1 or not _says(receipt, proof, topic, subject, value):
        _refuse("The transaction does not say so.")
    return int(receipt["blockNumber"]), int(node.eth.block_number)


def _says(receipt: TxReceipt, proof: dict[str, Any], topic: bytes, subject: bytes, value: bytes) -> bool:
    sender = bytes.fromhex(proof["signer"][2:]).rjust(32, b"\0")
    return any(
        log["address"].lower() == proof["contract"].lower()
        and [bytes(item) for item in log["topics"]] == [topic, subject, sender]
        and bytes(log["data"]) == value
        for log in receipt["logs"]
    )


def _refuse(why: str) -> NoReturn:
    raise ValueError(why)
