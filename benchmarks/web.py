"""Creating jobs over HTTP: the platform's API, and the plain view, behind the same server with the same options."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import loader, stage
from jobplatform.children import procfile

CONNECTIONS, BATCH_CONNECTIONS = 8, 4
BATCH = 1000
WARM_UP = 2.0  # seconds
READY_WITHIN = 60.0
ONE_JOB = {"kind": "bench.noop", "payload": {"number": 1}}


@dataclass(frozen=True)
class Target:
    """What is posted, where, and which table must have the rows afterwards."""

    side: str
    application: str
    path: str
    table: str
    connections: int = CONNECTIONS
    jobs: int = 1  # per request

    def body(self) -> bytes:
        one = {"jobs": [ONE_JOB] * self.jobs} if self.jobs > 1 else ONE_JOB
        return json.dumps(one).encode()


OUR_SINGLE = Target(stage.OURS, "jobplatform.wsgi:application", "/api/v1/jobs", "jobs_job")
OUR_BATCH = Target(
    stage.OURS, "jobplatform.wsgi:application", "/api/v1/jobs/batch", "jobs_job", BATCH_CONNECTIONS, BATCH
)
PLAIN = Target("plain_view", "benchmarks.peers.plain_view:application", "/jobs", "plain_job")


def measure(on: stage.Stage, target: Target, *, seconds: float) -> float:
    """Jobs (or rows) a second that the target's server accepts.

    Raises `SideFailed` when a request was refused, or when the table does not have exactly the accepted rows.
    """
    run = on.run(target.side)
    key = on.prepare(target.side).get("api_key")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with server(run, target) as port:
        request = loader.post(port, target.path, target.body(), headers)
        load = loader.run(port, request, connections=target.connections, warm_up=WARM_UP, seconds=seconds)
    stored = run.count(target.table)
    if load.refused or stored != load.accepted * target.jobs:
        example = load.refused[0].decode(errors="replace") if load.refused else ""
        message = f"{target.path}: {load.accepted} accepted, {len(load.refused)} refused, {stored} rows\n{example}"
        raise stage.SideFailed(message)
    return load.rate * target.jobs


@contextmanager
def server(run: stage.Run, target: Target) -> Iterator[int]:
    """The target's server; yields its port once it accepts connections."""
    port = _free_port()
    log = run.directory / "web.log"
    # As the platform ships (the Procfile's `web`), for both sides.
    _, *options, _ = procfile({"PORT": str(port), "LIVE_PORT": "", "FLOWER_PORT": ""})["web"]
    lines = options.index("--log-config")  # how ours writes its lines; a peer cannot
    del options[lines : lines + 2]
    process = run.spawn([run.python, *options, "--log-level", "error", target.application], log)
    try:
        deadline = time.monotonic() + READY_WITHIN
        while not _accepts(port):
            if process.poll() is not None or time.monotonic() > deadline:
                message = f"{target.application} does not listen:\n{log.read_text()[-3000:]}"
                raise stage.SideFailed(message)
            time.sleep(0.05)
        yield port
    finally:
        stage.end(process)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
