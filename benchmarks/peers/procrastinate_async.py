"""procrastinate on its asynchronous psycopg connector, finished jobs kept (its default).

Concurrency 20 in each of two processes, a pool of connections to match, LISTEN on.
"""

# Checked without its library, which lives in .venv-bench only.
# mypy: disable-error-code="import-not-found,untyped-decorator"

import asyncio
import time

from procrastinate import App, PsycopgConnector

from benchmarks import recorder
from benchmarks.peers.protocol import Handover, LibraryPeer, database_url, serve

CONCURRENCY = 20
ENQUEUED_AT_ONCE = 1000

app = App(connector=PsycopgConnector(conninfo=database_url(), min_size=1, max_size=CONCURRENCY + 2))


@app.task(name="noop")
async def noop(number: int) -> None:
    recorder.tick()


@app.task(name="pick_up")
async def pick_up(index: int) -> None:
    recorder.picked(index)


class Procrastinate(LibraryPeer):
    """procrastinate, two processes."""

    packages = ("procrastinate", "psycopg")
    opened = False
    settings = "psycopg async connector, concurrency 20 x 2 processes, finished jobs kept"

    def prepare(self) -> None:
        with app.open():
            app.schema_manager.apply_schema()

    def enqueue(self, jobs: int) -> None:
        with app.open():
            for start in range(0, jobs, ENQUEUED_AT_ONCE):
                numbers = range(start, min(start + ENQUEUED_AT_ONCE, jobs))
                noop.batch_defer(*({"number": number} for number in numbers))

    def send(self, index: int) -> Handover:
        if not self.opened:
            app.open()
            self.opened = True
        handed_over = time.monotonic_ns()  # one statement, which commits itself
        pick_up.defer(index=index)
        return Handover.at(handed_over)

    def work(self) -> None:
        async def run() -> None:
            async with app.open_async():
                self.at_gate()
                await app.run_worker_async(concurrency=CONCURRENCY)

        asyncio.run(run())


if __name__ == "__main__":
    serve(Procrastinate())
