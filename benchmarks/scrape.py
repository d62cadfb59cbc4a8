"""One scrape of /metrics over five million jobs: every statement with its time, and its plan where it is slow.

python -m benchmarks.scrape [--jobs N]     ends with 1 when a statement takes more than 50 ms, or there are more than 25
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import django
import psycopg

from benchmarks import lists, stage
from benchmarks.results import percentile

MOST_MS = 50.0
MOST_STATEMENTS = 25
SCRAPES = 11

# Beside the finished jobs of `lists`: a backlog on 400 shelves of 40 projects, a log that nobody has counted and one
# consumer has not read, interventions that were decided and that are open, and two hundred worker processes.
_MORE = (
    "select setval(pg_get_serial_sequence('jobs_shelf', 'id'), 1000)",
    (
        "insert into jobs_shelf (kind, project_id, priority, cap, weight, paused, low_due_at)"
        " select 'bench.kind' || k, md5(p::text)::uuid, 0, 0, 1, false, now() - interval '1 hour'"
        " from generate_series(1, 10) k, generate_series(1, 40) p"
    ),
    (
        "insert into jobs_job (id, project_id, created_at, due_at, position, shelf_id, claim_no, seq, attempt,"
        " priority, gate, cancel_requested, kind, stage, status, payload)"
        " select gen_random_uuid(), s.project_id, now(), now() - n * interval '1 ms', 1, s.id, 0, 1, 0, 0, 0, false,"
        " s.kind, 'process', 'queued', '{}'"
        " from jobs_shelf s, generate_series(1, 1000) n where s.kind like 'bench.kind%'"
    ),
    (
        "insert into events_event (position, project_id, type, subject_id, seq, data)"
        " select 1, project_id, 'job.' || status, id, 2,"
        " jsonb_build_object('kind', kind, 'duration_ms', random() * 900)"
        " from jobs_job where status in ('processed', 'failed') limit 1000000"
    ),
    (
        "insert into events_consumer (name, position, last_id, failures, error, moved_at)"
        " select 'bench' || n, 0, 0, 0, '', now() from generate_series(1, 5) n"
    ),
    (
        "insert into jobs_intervention (id, project_id, subject_type, subject_id, reason, evidence, actions, opened_at,"
        " resolved_by, action, decision_reason, resolved_at)"
        " select gen_random_uuid(), project_id, 'job', id::text, 'x', '{}', '{}', now(), '', '', '',"
        " case when status <> 'blocked' then now() end"
        " from jobs_job where status in ('blocked', 'failed', 'rejected')"
    ),
    (
        "insert into jobs_worker (name, host, pid, parent_pid, queues, kinds, started_at, heartbeat_at)"
        " select 'w', 'h', n, 1, '{default,events}', '{}', now(), now() + interval '1 day'"
        " from generate_series(1, 200) n"
    ),
    "vacuum analyze",
)


def main() -> int:
    """Fill, scrape, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=lists.JOBS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jp-", dir="/var/tmp") as data:
        Path(data).chmod(0o711)
        with stage.Stage(Path(data) / "scrape") as on:
            prepared = on.prepare(stage.OURS)
            run = on.lasting(stage.OURS, "scrape", lambda made: _fill(made, prepared["project_id"], options.jobs))
            os.environ.update(run.environment | {"DJANGO_SETTINGS_MODULE": "jobplatform.settings"})
            django.setup()
            return _report(_scrapes())


def _fill(run: stage.Run, project: str, jobs: int) -> None:
    began = time.monotonic()
    lists.fill(run, project, jobs)
    for statement in _MORE:
        run.execute(statement)
    print(f"{jobs} finished jobs and the rest were made in {time.monotonic() - began:.0f} s.")


def _scrapes() -> list[list[tuple[str, float]]]:
    """What each of some scrapes said, with the milliseconds that it took."""
    from jobplatform import metrics

    said: list[tuple[str, float]] = []
    execute = psycopg.Cursor.execute

    def timed(cursor: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(cursor, query, *args, **kwargs)
        finally:
            text = query.decode() if isinstance(query, bytes) else str(query)
            said.append((" ".join(text.split()), (time.perf_counter() - began) * 1000))

    psycopg.Cursor.execute = timed  # type: ignore[assignment, method-assign] # a measurement, in a process of its own
    scrapes, series = [], 0
    for _ in range(SCRAPES):
        said.clear()
        series = sum(len(family.samples) for family in metrics.collect())
        scrapes.append(list(said))
    print(f"{series} series.")
    return scrapes


def _report(scrapes: list[list[tuple[str, float]]]) -> int:
    most = max(len(said) for said in scrapes[1:])
    times: dict[str, list[float]] = {}
    for said in scrapes[1:]:  # the first one opens the connection
        for text, taken in said:
            times.setdefault(text, []).append(taken)
    for text, each in sorted(times.items(), key=lambda item: -percentile(item[1], 50)):
        print(f"{percentile(each, 50):8.1f} ms  p95 {percentile(each, 95):8.1f} ms  {len(each):4} x  {text[:90]}")
    slow = max(percentile(each, 50) for each in times.values())
    whole = percentile([sum(taken for _, taken in said) for said in scrapes[1:]], 50)
    print(f"{most} statements a scrape, {whole:.0f} ms in all, the slowest {slow:.1f} ms.")
    return int(slow > MOST_MS or most > MOST_STATEMENTS)


if __name__ == "__main__":
    sys.exit(main())
