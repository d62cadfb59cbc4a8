"""DBOS: durable workflows on a queue, each with one step, two processes with an executor id of their own."""

# Checked without its library, which lives in .venv-bench only.
# mypy: disable-error-code="import-not-found,untyped-decorator"

import signal
import sys
import threading
import time

from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions

from benchmarks import recorder
from benchmarks.peers.protocol import Handover, LibraryPeer, database_url, serve

POLL_SECONDS = 0.05
CONCURRENCY = 50
QUEUE = "work"


@DBOS.step()
def step() -> None:
    recorder.tick()


@DBOS.workflow()
def noop(number: int) -> None:
    step()


@DBOS.workflow()
def pick_up(index: int) -> None:
    recorder.picked(index)


def _config(name: str) -> DBOSConfig:
    return {
        "name": "bench",
        "system_database_url": database_url(),
        "executor_id": name,
        "application_version": "1",
        "run_admin_server": False,
        "log_level": "ERROR",
    }


class Dbos(LibraryPeer):
    """DBOS, two processes."""

    packages = ("dbos", "psycopg", "sqlalchemy")
    settings = "queue polled every 0.05 s, worker_concurrency 50, one step per workflow, 2 processes"

    def __init__(self) -> None:
        super().__init__()
        self.client: DBOSClient | None = None

    def prepare(self) -> None:
        DBOS(config=_config("prepare"))
        DBOS.launch()
        DBOS.register_queue(QUEUE, worker_concurrency=CONCURRENCY, polling_interval_sec=POLL_SECONDS)
        DBOS.destroy()

    def enqueue(self, jobs: int) -> None:
        for number in range(jobs):
            self._send("noop", number)

    def send(self, index: int) -> Handover:
        handed_over = time.monotonic_ns()
        self._send("pick_up", index)
        return Handover.at(handed_over)

    def _send(self, workflow: str, number: int) -> None:
        self.client = self.client or DBOSClient(system_database_url=database_url())
        options: EnqueueOptions = {"queue_name": QUEUE, "workflow_name": workflow, "app_version": "1"}
        self.client.enqueue(options, number)

    def work(self) -> None:
        stopped = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        DBOS(config=_config(f"worker{sys.argv[-1]}"))
        self.at_gate()
        DBOS.launch()
        DBOS.register_queue(QUEUE, worker_concurrency=CONCURRENCY, polling_interval_sec=POLL_SECONDS)
        stopped.wait()
        DBOS.destroy(workflow_completion_timeout_sec=0)


if __name__ == "__main__":
    serve(Dbos())
