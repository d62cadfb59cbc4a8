"""A node, a platform's tables that lead to it, and the steps of its processes in this one."""

import contextlib
import datetime as dt
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management import call_command
from pydantic import BaseModel

from confirmations import keys, signing
from confirmations.errors import LeaseLost, NodeError
from confirmations.gas import Line
from confirmations.gateway import chain as gateway
from confirmations.handlers import chores, send
from confirmations.handlers.capture import Reader
from confirmations.models import Block, Confirmation, Contract, ScannedRange, Signer
from confirmations.selectors import why
from confirmations.services import capturing
from confirmations.states import Mode
from events import consumers, log
from events.log import move_clock
from events.models import Consumer
from jobplatform import processes
from jobs import Done, Run, extensions, handler, registry, services, shelves
from jobs.bell import bell
from jobs.models import Job
from jobs.services import JobRequest
from jobs.states import PLATFORM, Stage
from tests.anvil import Anvil
from tests.contracts.deliveries import PROJECT, Worker

OWNER = UUID(int=99)


class Order(BaseModel):
    """What is confirmed."""

    number: int = 0


def make_keystore(directory: Path) -> Path:
    """Put the key of one signer into a directory; returns that. Keys of the same name were opened for other tests."""
    signing.key.cache_clear()
    directory.chmod(0o700)
    keys.write_keystore(directory / "signer.json", secrets.token_bytes(32), b"open sesame")
    return directory


def forget() -> None:
    """Nothing of another test's node is known any more."""
    gateway.chain.cache_clear()
    gateway.second.cache_clear()
    send._looked_at.clear()
    send._lines.cache_clear()
    send._is_there.cache_clear()


class World:
    """The platform of a test: its contract, its signer, and what its processes do, one step at a time."""

    def __init__(self, node: Anvil, keystore: Path) -> None:
        self.node, self.keystore = node, keystore
        self._reader: Reader | None = None
        self._ahead = dt.timedelta()

    @property
    def contract(self) -> Contract:
        """As it stands now."""
        return Contract.objects.select_related("network").get()

    @property
    def signer(self) -> Signer:
        """As it stands now."""
        return Signer.objects.select_related("network").get()

    def submit(
        self, number: int = 1, *, confirm: str = "single", lane: str | None = None, project_id: UUID = PROJECT
    ) -> list[UUID]:
        """Create jobs that go on chain, and do them."""
        requests = [JobRequest("order.book", {"number": n}, confirm=confirm, lane=lane) for n in range(number)]
        ids = [job.id for job in services.submit_many(project_id=project_id, requests=requests)]
        worker = Worker(registry.get("order.book"), "one")
        for _ in ids:
            worker.run(list(worker.claim()))
        return ids

    def ask(self) -> None:
        """Let the consumer of the log read to its end.

        Others on the same server may keep the end back for a moment. It is read in one piece all the same: each piece
        calls a sender of its own.
        """
        assert processes.wait_until(self._readable, seconds=20)
        mine = Consumer.objects.filter(name="confirmations")
        mine.update(retry_at=None)
        while consumers.run("confirmations"):
            mine.update(retry_at=None)

    @staticmethod
    def _readable() -> bool:
        with log.cursor() as cur:
            cur.execute("select coalesce(max(position) < (select event_horizon()), true) from events_event")
            ((readable,),) = cur.fetchall()
        return bool(readable)

    def send(self) -> None:
        """Let a worker do what is to be sent."""
        worker = Worker(registry.get("confirmation.send"), "signer")
        while claimed := worker.claim():
            worker.run(list(claimed))

    def send_quietly(self, *deaths: type[BaseException]) -> None:
        """The same, and the process may die; what it held comes back as the rescue of a dead process brings it."""
        worker = Worker(registry.get("confirmation.send"), "signer")
        for _ in range(3):  # what comes back at once, because a node does not answer, is not asked for for ever
            claimed = worker.claim()
            if not claimed:
                return
            try:
                worker.run(list(claimed), *deaths)
            except deaths:
                Job.objects.filter(id__in=[job.id for job in claimed]).update(status="queued", claimed_by=None)
                return

    def send_with_gas(self, gas: int) -> None:
        """Send, with so much gas for every call, whatever a node estimates; and whatever lies at the address."""
        measured = send._lines, send._is_there
        send._lines = lambda *_: dict.fromkeys(Mode, Line(gas))  # type: ignore[assignment]
        send._is_there = lambda *_: True  # type: ignore[assignment]
        try:
            self.send()
        finally:
            send._lines, send._is_there = measured

    def call(self, kind: str) -> None:
        """Have a job of the platform's own."""
        services.submit(project_id=PLATFORM, kind=kind, payload={})

    def sender(self) -> Job:
        """The job that sends."""
        return Job.objects.get(kind="confirmation.send")

    def reopen(self) -> None:
        """The reader begins anew, as after an error."""
        self._reader = None

    def watch_quietly(self) -> None:
        """Let the watcher look as far as it gets."""
        with contextlib.suppress(NodeError):
            self.watch()

    def run(self, kind: str) -> None:
        """Let a worker do what there is of a kind."""
        worker = Worker(registry.get(kind), "one")
        for _ in range(5):
            if claimed := worker.claim():
                worker.run(list(claimed))

    def read_quietly(self) -> None:
        """Let a reader come as far as it gets."""
        with contextlib.suppress(NodeError):
            self.read()

    def read(self) -> None:
        """Let a reader come to the end of the chain."""
        if self._reader is None:
            lease = capturing.take(self.contract.id, OWNER)
            assert lease is not None
            self._reader = Reader(self.contract.id, lease)
        try:
            while self._reader.step():
                pass
        except LeaseLost:
            self._reader = None
            raise

    def rewind(self) -> None:
        """Nothing of the contract was ever read."""
        contract = self.contract
        ScannedRange.objects.all().delete()
        Block.objects.all().delete()
        Contract.objects.update(next_block=contract.deploy_block)
        self.reopen()

    def watch(self) -> None:
        """Let the watcher look once."""
        Job.objects.filter(project_id=PLATFORM, kind="confirmation.watch").delete()
        for signer in Signer.objects.select_related("network"):
            chores._watch(signer)

    def pass_time(self, seconds: float) -> None:
        """Move the platform's clock on."""
        self._ahead += dt.timedelta(seconds=seconds)
        move_clock(self._ahead)

    def settle(self) -> None:
        """All of it, with as many blocks as it takes until they are final."""
        self.ask()
        self.send()
        self.node.mine(1)
        self.read()
        self.node.mine(2)
        self.read()

    def statuses(self, ids: list[UUID]) -> list[str]:
        """Of these jobs, in their order."""
        found = dict(Job.objects.filter(id__in=ids).values_list("id", "status"))
        return [found[job_id] for job_id in ids]

    def standings(self, ids: list[UUID]) -> list[str]:
        """Of their confirmations."""
        found = dict(Confirmation.objects.filter(id__in=ids).values_list("id", "standing"))
        return [found[job_id] for job_id in ids]


@contextlib.contextmanager
def world_of(node: Anvil, keystore: Path, settings: Any, *, kms: str = "") -> Iterator[World]:
    """A platform on the database of now, on a chain: contract deployed, signer funded. Blocks come when they are told to.

    `kms`: the id of a key of KMS that signs instead of the one in the keystore.
    """
    settings.RPC_URLS = [node.url]
    settings.RPC_WS_URL = ""
    settings.KEYSTORE_DIR = str(keystore)
    settings.KEYSTORE_PASSPHRASE = "open sesame"
    forget()
    kinds = dict(registry._kinds)
    there = Stage.CONFIRM in extensions.stages

    try:

        @handler("order.book", payload=Order)
        def book(job: Run[Order]) -> Done:
            return Done({"booked": job.payload.number})

        if not there:
            extensions.stages.register(Stage.CONFIRM, why)
        shelves.forget()
        (keystore / signing.BOUNDS).unlink(missing_ok=True)
        node.call("evm_setAutomine", True)
        options = {"finality": "depth", "depth": 2, "block_seconds": 0.2, "kms": kms}
        call_command("deploy_registry", fund=True, allow=True, verbosity=0, **options)
        node.call("evm_setAutomine", False)
        assert json.loads((keystore / signing.BOUNDS).read_text())
        consumers.ensure_rows()
        yield World(node, keystore)
    finally:
        bell.hang_up()
        shelves.forget()
        registry._kinds.clear()
        registry._kinds.update(kinds)
        if not there:
            del extensions.stages._things[Stage.CONFIRM]
        forget()
