"""A migration that was killed while it built an index is run again and comes to its end."""

import re
from pathlib import Path

import psycopg
import pytest
from django.apps import apps
from django.db import OperationalError, connection
from django.db.migrations.loader import MigrationLoader

from jobs.models import Job
from tests.databases import Cluster

pytestmark = pytest.mark.usefixtures("committed")

STATE = "select indisvalid, oid from pg_index join pg_class on oid = indexrelid where relname = 'jobs_job_limit'"


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def state() -> tuple[bool, int]:
    with connection.cursor() as cursor:
        cursor.execute(STATE)
        valid, number = cursor.fetchone()
    return valid, number


def build() -> None:
    """What the migration of this index does, once more: it was killed before it was noted."""
    loader = MigrationLoader(connection)
    (operation,) = loader.get_migration("jobs", "0008_limit_index").operations
    before = loader.project_state(("jobs", "0007_limits"))
    after = before.clone()
    operation.state_forwards("jobs", after)
    with connection.schema_editor(atomic=False) as editor:
        operation.database_forwards("jobs", editor, before, after)


def test_an_index_that_was_left_invalid_is_built_anew(cluster: Cluster) -> None:
    """Its builder waited in vain for the end of somebody's transaction."""
    execute("drop index jobs_job_limit")
    with psycopg.connect(cluster.named(connection.settings_dict["NAME"])) as other:
        other.execute("set transaction isolation level repeatable read")
        other.execute("select 1")
        execute("set lock_timeout = '100ms'")
        with pytest.raises(OperationalError, match="lock timeout"):
            build()
    execute("reset lock_timeout")
    left = state()
    build()

    assert not left[0]
    assert state()[0]


def test_an_index_that_was_finished_is_left_as_it_is() -> None:
    before = state()
    build()

    assert state() == before


def test_what_is_not_there_is_built() -> None:
    execute("drop index jobs_job_limit")
    build()

    assert state()[0]
    assert "jobs_job_limit" in {index.name for index in Job._meta.indexes}


def test_every_migration_of_ours_that_builds_an_index_beside_the_work_can_be_run_again() -> None:
    ours = [Path(config.path) for config in apps.get_app_configs() if "site-packages" not in config.path]
    files = [file for path in ours for file in path.glob("migrations/0*.py")]
    bad = [
        file.name
        for file in files
        if "AddIndexConcurrently" in file.read_text()
        or re.search("create index concurrently(?! if not exists)", file.read_text(), re.IGNORECASE)
    ]

    assert files
    assert bad == []
