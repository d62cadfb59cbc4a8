"""The lists of the API over five million jobs of one installation, asked for over HTTP as a client would."""

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks import stage, web
from benchmarks.results import percentile

JOBS = 5_000_000
FEW = 20_000  # of a quick run
SLICE = 500_000  # rows of one statement
ASKED = 15  # times that each list is asked for
DAYS = 50  # over which the jobs were created

# Four of five jobs are the project's own. Of 1,000 jobs 970 are processed; the others stand where lists look for them.
_FILL = """
insert into jobs_job (id, project_id, created_at, due_at, started_at, finished_at, position, shelf_id, claim_no, seq,
                      attempt, priority, gate, cancel_requested, kind, stage, status, metadata, payload, output, error)
select uuidv7(at - clock_timestamp()), case when n %% 5 = 0 then gen_random_uuid() else %(project)s end,
       at, at, at, case when status in ('processed', 'failed', 'rejected', 'cancelled') then at end, n, 1, 1, 2,
       1, 0, 0, false,
       case when n %% 5 = 1 then 'message.process' when n %% 100003 = 0 then 'bench.pick_up' else 'bench.noop' end,
       'process', status,
       jsonb_build_object('order', (n %% 5000)::text, 'customer', n::text),
       jsonb_build_object('number', n), case when status = 'processed' then jsonb_build_object('number', n) end,
       case when status in ('failed', 'rejected')
            then jsonb_build_object('code', case when n %% 2 = 0 then 'provider_away' else 'bad_order' end) end
from (
    select n, now() - make_interval(secs => (%(jobs)s - n) * %(apart)s::float8) as at,
           case when n %% 1000 < 970 then 'processed' when n %% 1000 < 985 then 'failed'
                when n %% 1000 < 990 then 'rejected' when n %% 1000 < 993 then 'cancelled'
                when n %% 1000 < 995 then 'blocked' when n %% 1000 < 996 then 'parked'
                when n %% 1000 < 997 then 'pending_approval' when n %% 1000 < 998 then 'confirming'
                else 'queued' end as status
    from generate_series(%(first)s::int, %(last)s::int) n
) numbered
"""
_MESSAGES = """
insert into ingestion_message (id, project_id, company_id, message_id, message_time, stored_at, size, body_sha256, body)
select id, project_id, md5((payload ->> 'number')::int % 50 || '')::uuid, gen_random_uuid(), created_at,
       case when status = 'processed' then created_at end, 2, sha256('{}'), '{}'
from jobs_job where kind = 'message.process'
"""
_SHELF = """
insert into jobs_shelf (id, kind, project_id, priority, cap, weight, paused, low_due_at)
overriding system value values (1, 'bench.noop', %s, 0, 0, 1, true, now()) on conflict do nothing
"""

_STATUSES = ("queued", "parked", "pending_approval", "confirming", "blocked", "processed", "failed", "rejected")
LISTS = (
    "jobs",
    "jobs?limit=200",
    *(f"jobs?status={status}" for status in (*_STATUSES, "processing", "cancelled", "confirmed")),
    "jobs?kind=bench.noop",
    "jobs?kind=bench.pick_up",
    "jobs?kind=log.rotate",
    "jobs?kind=bench.pick_up&status=failed",
    "jobs?stage=capture",
    "jobs?lane=nobody",
    "jobs?error_code=provider_away",
    "jobs?status=failed&error_code=provider_away&limit=200",
    "jobs?status=rejected&error_code=no_such_code",
    "jobs?created_after={first}&created_before={last}",
    "jobs?status=blocked&created_after={first}&created_before={last}",
    "jobs?status=processed&created_before={last}&kind=message.process",
    "jobs?metadata.order=17",
    "jobs?metadata.customer=1",
    "jobs?metadata.order=17&status=failed",
    "messages",
    "messages?status=failed",
    "messages?status=processed&limit=200",
    "messages?status=received",
    "messages?status=rejected&company_id=ffffffff-ffff-4fff-bfff-ffffffffffff",
    "messages?received_after={first}&received_before={last}",
)


@dataclass(frozen=True)
class Slowest:
    """The list that takes longest: its median and its 95th percentile, in milliseconds."""

    path: str
    p50: float
    p95: float


def fill(run: stage.Run, project: str, jobs: int) -> None:
    """Make the rows of so many jobs, a fifth of them of messages, as if they had come in over fifty days."""
    apart = DAYS * 86_400 / jobs
    with psycopg.connect(run.database_url, autocommit=True) as link:
        link.execute(_SHELF, (project,))
        for first in range(1, jobs + 1, SLICE):
            last = min(jobs, first + SLICE - 1)
            values = {"project": project, "jobs": jobs, "apart": apart, "first": first, "last": last}
            link.execute(_FILL, values)
        link.execute(_MESSAGES)
        link.execute("vacuum analyze jobs_job")
        link.execute("vacuum analyze ingestion_message")


def measure(on: stage.Stage, *, jobs: int = JOBS) -> Slowest:
    """Ask for every list, first page and second page, and return the slowest.

    Raises `SideFailed` when one of them is refused.
    """
    prepared = on.prepare(stage.OURS)
    run = on.lasting(stage.OURS, "lists", lambda made: fill(made, prepared["project_id"], jobs))
    now = time.time()
    times = {name: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - days * 86_400)) for name, days in _BOUNDS}
    found: dict[str, list[float]] = {}
    with web.server(run, web.OUR_SINGLE) as port:
        client = Client(port, prepared["api_key"])
        for path in (shape.format(**times) for shape in LISTS):
            following = client.get(f"/api/v1/{path}")[1].get("next")  # unmeasured: plans, and caches of the process
            for _ in range(ASKED):
                found.setdefault(path, []).append(client.get(f"/api/v1/{path}")[0])
                if following:
                    found.setdefault(f"{path} (second page)", []).append(client.get(following)[0])
    ranked = sorted((percentile(taken, 50), percentile(taken, 95), path) for path, taken in found.items())
    p50, p95, path = ranked[-1]
    return Slowest(path, p50, p95)


_BOUNDS = (("first", 30), ("last", 29))  # days ago


class Client:
    """One keep-alive connection with a key."""

    def __init__(self, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}

    def get(self, path: str) -> tuple[float, dict[str, Any]]:
        """The milliseconds until the whole answer is there, and the answer. Raises `SideFailed` unless it is 200."""
        path = path[path.index("/api/") :]  # the links of a page are absolute
        began = time.perf_counter()
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        taken = (time.perf_counter() - began) * 1000
        if answer.status != http.client.OK:
            message = f"GET {path}: {answer.status} {body[:500].decode(errors='replace')}"
            raise stage.SideFailed(message)
        return taken, json.loads(body)
