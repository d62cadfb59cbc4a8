"""Plans of the hot statements: by index, in a fresh database as in one with many finished jobs.

A table that was analysed while it was empty is read whole by any plan made then. Plans are therefore discarded now and
then when a pump starts (`jobs/pump.py`), which is what bounds such a plan's life.
"""

from typing import Any

import psycopg
import pytest
from django.db import connection

from benchmarks.explain import nodes, plan, sketch, statements

HOT = [
    "jobs/submit",
    "jobs/submit_one",
    "jobs/claim",
    "jobs/commit",
    "jobs/move",
    "jobs/announce",
    "jobs/note",
    "jobs/owned",
    "jobs/due",
    "jobs/any_due",
    "jobs/busy_lanes",
    "jobs/advance",
    "jobs/stuck_lanes",
    "jobs/take_lanes",
    "jobs/sweep",
    "jobs/lower_mark",
    "jobs/raise_mark",
    "jobs/refuse",
    "jobs/take_key",
    "jobs/key_holder",
    "events/append",
    "events/read",
]
LARGE = {"jobs_job", "jobs_attempt", "jobs_uniquekey"}
FINISHED = """
insert into jobs_job (id, project_id, created_at, due_at, position, shelf_id, claim_no, seq, attempt, priority, gate,
                      cancel_requested, kind, stage, status, payload)
select gen_random_uuid(), '00000000-0000-0000-0000-00000000000a', now(), now(), 1, 1, 1, 2, 1, 0, 0,
       false, 'plan.check', 'process', 'processed', '{}'
from generate_series(1, %s)
"""
ATTEMPTED = """
insert into jobs_attempt (job_id, project_id, started_at, ended_at, claim_no, attempt, stage, outcome)
select id, project_id, now(), now(), 1, 1, 'process', 'done' from jobs_job
"""

# As if nobody had analysed them yet, whatever earlier tests and the autovacuum did to this database.
NEVER_ANALYSED = "truncate jobs_job, jobs_attempt, jobs_uniquekey, jobs_intervention, jobs_lane, events_event"


# What the planner takes for the size of the table; the rows that are there tell how their values are spread.
MILLIONS = """
select pg_restore_relation_stats('schemaname', 'public', 'relname', c.relname::text, 'relpages', c.relpages,
                                 'reltuples', 5000000::real)
from pg_class c where c.relname = any(%s)
"""


@pytest.fixture(params=[0, 20_000, 5_000_000], ids=["fresh", "20,000 finished jobs", "5,000,000 finished jobs"])
def link(request: pytest.FixtureRequest, db: None) -> psycopg.Connection[Any]:
    with connection.cursor() as cur:
        cur.execute(NEVER_ANALYSED)
        if request.param:
            cur.execute(FINISHED, [min(request.param, 20_000)])
            cur.execute(ATTEMPTED)
            cur.execute("analyze jobs_job, jobs_attempt")
        if request.param > 20_000:
            if connection.connection.info.server_version < 180_000:
                pytest.skip("Only PostgreSQL 18 lets statistics be set.")
            cur.execute(MILLIONS, [["jobs_job", "jobs_attempt"]])
            cur.execute("select min(reltuples) from pg_class where relname in ('jobs_job', 'jobs_attempt')")
            assert cur.fetchone() == (5_000_000,)
    raw: psycopg.Connection[Any] = connection.connection
    return raw


@pytest.mark.parametrize("name", HOT)
def test_a_hot_statement_never_reads_a_whole_table(link: psycopg.Connection[Any], name: str) -> None:
    tree = plan(link, statements()[name])

    read_whole = [
        node["Relation Name"]
        for node in nodes(tree)
        if node["Node Type"] == "Seq Scan"
        and (node["Relation Name"] in LARGE or node["Relation Name"].startswith("events_event_"))
    ]
    assert not read_whole, sketch(tree)


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("jobs/claim", "jobs_job_ready"),
        ("jobs/commit", "jobs_job_pkey"),
        ("jobs/move", "jobs_job_pkey"),
        ("jobs/move", "jobs_intervention_one"),
        ("jobs/owned", "jobs_job_owned"),
        ("jobs/due", "jobs_job_ready"),
        ("jobs/any_due", "jobs_job_ready"),
        ("jobs/busy_lanes", "jobs_job_lane"),
        ("jobs/advance", "jobs_job_lane"),
        ("jobs/stuck_lanes", "jobs_job_lane"),
        ("jobs/sweep", "jobs_job_ready"),
    ],
)
def test_a_hot_statement_uses_its_index(link: psycopg.Connection[Any], name: str, index: str) -> None:
    tree = plan(link, statements()[name])

    assert index in {node.get("Index Name") for node in nodes(tree)}, sketch(tree)


def test_the_guard_sees_a_statement_that_reads_a_whole_table(link: psycopg.Connection[Any]) -> None:
    tree = plan(link, "select count(*) from jobs_job where kind = %(kind)s")

    assert "Seq Scan" in {node["Node Type"] for node in nodes(tree)}
