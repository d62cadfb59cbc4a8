"""pgqueuer on asyncpg: the fastest durable queue in Python that we found.

Tuned as its guide to performance and its own benchmark do: uvloop, one connection per queue manager, large batches
for short jobs, its autovacuum settings; `durable`, its default, as the other sides are durable too.
"""

# Checked without its library, which lives in .venv-bench only.
# mypy: disable-error-code="import-not-found,untyped-decorator"

import asyncio
import signal
import time

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks import recorder
from benchmarks.peers.protocol import Handover, LibraryPeer, database_url, serve

BATCH = 500  # 100 costs a third more CPU a job here, 1000 hardly less
ENQUEUED_AT_ONCE = 1000


class Pgqueuer(LibraryPeer):
    """pgqueuer, two processes."""

    packages = ("pgqueuer", "asyncpg", "uvloop")
    settings = "asyncpg, uvloop, batch 500, 2 processes, durable, `pgq autovac` applied"

    def __init__(self) -> None:
        super().__init__()
        self.loop = uvloop.new_event_loop()
        self.queries: Queries | None = None

    def prepare(self) -> None:
        async def install() -> None:
            queries = await self._connect()
            await queries.install()
            await queries.optimize_autovacuum()

        self.loop.run_until_complete(install())

    async def _connect(self) -> Queries:
        return Queries(AsyncpgDriver(await asyncpg.connect(dsn=database_url())))

    def enqueue(self, jobs: int) -> None:
        async def fill() -> None:
            queries = await self._connect()
            for start in range(0, jobs, ENQUEUED_AT_ONCE):
                count = min(ENQUEUED_AT_ONCE, jobs - start)
                payloads: list[bytes | None] = [b"%d" % number for number in range(start, start + count)]
                await queries.enqueue(["noop"] * count, payloads, [0] * count)

        self.loop.run_until_complete(fill())

    def send(self, index: int) -> Handover:
        return Handover.at(int(self.loop.run_until_complete(self._send(index))))

    async def _send(self, index: int) -> int:
        self.queries = self.queries or await self._connect()
        handed_over = time.monotonic_ns()  # one statement, which commits itself
        await self.queries.enqueue("pick_up", b"%d" % index, 0)
        return handed_over

    def work(self) -> None:
        self.loop.run_until_complete(self._work())

    async def _work(self) -> None:
        pgq = PgQueuer((await self._connect()).driver)

        @pgq.entrypoint("noop")
        async def noop(job: Job) -> None:
            recorder.tick()

        @pgq.entrypoint("pick_up")
        async def pick_up(job: Job) -> None:
            recorder.picked(int(job.payload or b"0"))

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, pgq.shutdown.set)
        self.at_gate()
        await pgq.run(batch_size=BATCH)


if __name__ == "__main__":
    serve(Pgqueuer())
