"""Creating jobs over HTTP: the platform's API, and the plain view, behind the same server with the same options."""

import contextlib
import json
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import loader, stage
from benchmarks.results import percentile
from jobplatform.children import procfile

CONNECTIONS, BATCH_CONNECTIONS = 8, 4
BATCH = 1000
WARM_UP = 2.0  # seconds
READY_WITHIN = 60.0
WAITING = 200  # requests that wait for one job
WAIT_SECONDS = 20  # that each of them waits at most
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


def beside_waiters(on: stage.Stage, *, seconds: float) -> tuple[float, float]:
    """p99 in milliseconds of single POSTs, one after another: alone, and while 200 others wait for a job to end.

    Raises `SideFailed` when a request was refused, or when the 200 did not wait all the while.
    """
    run = on.run(stage.OURS)
    headers = {"Authorization": f"Bearer {on.prepare(stage.OURS)['api_key']}"}
    one = loader.post(0, OUR_SINGLE.path, OUR_SINGLE.body(), headers)
    with server(run, OUR_SINGLE) as port, contextlib.ExitStack() as links:
        alone = loader.run(port, one, connections=1, warm_up=WARM_UP, seconds=seconds)
        waiting = [
            links.enter_context(socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS * 2))
            for _ in range(WAITING)
        ]
        waiting[0].sendall(one)
        job_id = json.loads(loader.read(waiting[0]).partition(b"\r\n\r\n")[2])["id"]
        ask = loader.get(port, f"{OUR_SINGLE.path}/{job_id}?wait={WAIT_SECONDS}", headers)
        for link in waiting:
            link.sendall(ask)
        beside = loader.run(port, one, connections=1, warm_up=WARM_UP, seconds=min(seconds, WAIT_SECONDS / 2))
        early = select.select(waiting, [], [], 0)[0]
        answers = [loader.read(link) for link in waiting]
    wrong = [answer for answer in answers if not answer.startswith(b"HTTP/1.1 200")]
    if alone.refused or beside.refused or early or wrong:
        message = f"{len(alone.refused + beside.refused)} refused, {len(early)} answered early, {len(wrong)} in vain"
        raise stage.SideFailed(message)
    return percentile(alone.latencies_ms, 99), percentile(beside.latencies_ms, 99)


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
