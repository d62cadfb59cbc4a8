"""Plans of what reconciliation asks again and again: by index, with 5 million jobs and 200,000 dead letters."""

import re
from typing import Any

import psycopg
import pytest
from django.db import connection

from benchmarks.explain import nodes, plan, sketch
from reconciliation import measures
from reconciliation.services import driving, expiry

LARGE = {"jobs_job", "reconciliation_deadletter", "reconciliation_redriverow"}
FILLED = (
    (
        "insert into jobs_job (id, project_id, created_at, due_at, position, shelf_id, claim_no, seq, attempt, priority,"
        " gate, cancel_requested, kind, stage, status, payload, finished_at)"
        " select gen_random_uuid(), ('00000000-0000-0000-0000-' || lpad((g % 20)::text, 12, '0'))::uuid, now(), now(), 1, 1,"
        " 1, 2, 1, 0, 0, false, 'plan.check', 'process', case when g % 10 = 0 then 'failed' else 'processed' end, '{}', now()"
        " from generate_series(1, 20000) g"
    ),
    (
        "insert into reconciliation_deadletter (job_id, project_id, died_at, seq, deaths, dead, kind, stage, status, code,"
        " fingerprint) select id, project_id, now(), seq, 1, true, kind, stage, status, 'down', '0123456789abcdef'"
        " from jobs_job where status = 'failed'"
    ),
    (
        "insert into reconciliation_cause (project_id, fingerprint, kind, code, message, sample_id, first_at, last_at, total,"
        " dead) select project_id, fingerprint, kind, 'down', '', (array_agg(job_id))[1], now(), now(), count(*), count(*)"
        " from reconciliation_deadletter group by 1, 2, 3"
    ),
    (
        "insert into reconciliation_redriverow (redrive_id, number, job_id, project_id, seq, state, why)"
        " select '00000000-0000-0000-0000-00000000000a', row_number() over (), job_id, project_id, seq, 'frozen', ''"
        " from reconciliation_deadletter"
    ),
    "analyze jobs_job, reconciliation_deadletter, reconciliation_cause, reconciliation_redriverow",
)
MILLIONS = """
select pg_restore_relation_stats('schemaname', 'public', 'relname', c.relname::text, 'relpages', c.relpages,
                                 'reltuples', x.rows::real)
from (values ('jobs_job', 5000000), ('reconciliation_deadletter', 200000), ('reconciliation_redriverow', 1000000))
    as x (name, rows)
join pg_class c on c.relname = x.name
"""
FREEZE = driving._FREEZE.format(letters="k.dead and k.project_id = %(project)s", jobs="j.status = 'failed'")
STATEMENTS = {
    "dead letters": measures._DEAD,
    "age of dead letters": measures._DEAD_AGE,
    "blocked lanes": measures._LANES,
    "decisions": measures._UNDECIDED,
    "freeze": FREEZE,
    "settle": driving._SETTLE,
    "expire": expiry._OLD,
}


@pytest.fixture
def link(db: None) -> psycopg.Connection[Any]:
    with connection.cursor() as cur:
        for statement in FILLED:
            cur.execute(statement)
        if connection.connection.info.server_version >= 180_000:
            cur.execute(MILLIONS)
    raw: psycopg.Connection[Any] = connection.connection
    return raw


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_reads_a_large_table_whole(link: psycopg.Connection[Any], name: str) -> None:
    numbers = iter(range(1, 100))
    found = plan(link, re.sub(r"%s", lambda _: f"${next(numbers)}", STATEMENTS[name]))
    whole = [node["Relation Name"] for node in nodes(found) if node["Node Type"] == "Seq Scan"]
    assert LARGE.isdisjoint(whole), sketch(found)
