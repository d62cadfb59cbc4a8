"""What is set up wrongly does not start: one clear sentence, from `manage.py check` as from the processes themselves."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from jobplatform.embedded import Embedded
from tests.databases import Cluster
from tests.often import often
from tests.processes import ROOT, broker

pytestmark = pytest.mark.timeout(120)

CHECK = ["manage.py", "check"]
RELAY = ["manage.py", "relay"]
WORKER = ["-m", "celery", "-A", "jobplatform", "worker", "-c", "1"]
BEAT = ["-m", "celery", "-A", "jobplatform", "beat"]
WEB = ["-m", "granian", "--interface", "wsgi", "--port", "0", "--workers", "1", "jobplatform.wsgi:application"]


SCHEDULE = """
insert into django_celery_beat_periodictask
    (name, task, interval_id, args, kwargs, headers, description, enabled, one_off, total_run_count, date_changed)
values ('nightly', 'nobody.knows', 1000, '[]', '{}', '{}', '', true, false, 0, now())
"""


@dataclass
class Said:
    """How a process ended, and what it said."""

    code: int
    text: str

    def sentence(self, words: str) -> bool:
        """Whether one line says it, and nothing of a traceback is around."""
        return self.code != 0 and "Traceback" not in self.text and any(words in line for line in self.text.splitlines())


Run = Callable[..., Said]


@pytest.fixture
def database(cluster: Cluster, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    with django_db_blocker.unblock():
        url = cluster.make()
    yield url
    cluster.drop(url)


@pytest.fixture
def run(clean_environment: Mapping[str, str], database: str, tmp_path: Path) -> Run:
    usual = {
        **clean_environment,
        "JOBPLATFORM_PROFILE": "test",
        "SECRET_KEY": "a secret of these tests, long and of many characters",
        "DATABASE_URL": database,
        "BROKER_URL": os.environ["BROKER_URL"],
        "STORAGE_URL": f"file://{tmp_path}",
    }

    def start(command: list[str], **env: str) -> Said:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=usual | env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Said(done.returncode, done.stdout + done.stderr)

    return start


def test_what_is_set_up_rightly_is_checked_without_a_word_against_it(run: Run) -> None:
    said = run(CHECK)

    assert said.code == 0, said.text


@pytest.mark.parametrize(
    "command", often([BEAT], [CHECK, RELAY, WORKER, BEAT]), ids=["check", "relay", "worker", "beat"]
)
def test_a_kind_that_is_registered_twice(run: Run, command: list[str]) -> None:
    said = run(command, JOBPLATFORM_HANDLERS="tests.handlers.twice")

    assert said.sentence("Kind 'log.rotate': it is registered twice"), said.text


@pytest.mark.parametrize("command", often([WORKER], [CHECK, WORKER]), ids=["check", "worker"])
def test_a_module_of_handlers_that_is_not_there(run: Run, command: list[str]) -> None:
    said = run(command, JOBPLATFORM_HANDLERS="no_such_handlers")

    assert said.sentence("JOBPLATFORM_HANDLERS names the module 'no_such_handlers', which is not on the path."), (
        said.text
    )


@pytest.mark.parametrize("command", often([RELAY], [CHECK, RELAY]), ids=["check", "relay"])
def test_a_database_without_its_migrations(run: Run, database: str, command: list[str]) -> None:
    with psycopg.connect(database) as link:
        last = link.execute(
            "delete from django_migrations where id = (select max(id) from django_migrations) returning app, name"
        ).fetchone()
    assert last is not None

    said = run(command)

    assert said.sentence(f"1 migrations are not applied, first {last[0]}.{last[1][:4]}"), said.text


WRONG: list[tuple[dict[str, str], str]] = [
    ({"DEBUG": "1"}, "DEBUG must be off in production."),
    ({"SECRET_KEY": "django-insecure-" + "k" * 50}, "SECRET_KEY must be set to a secret of at least"),
    ({"SECRET_KEY": "short"}, "SECRET_KEY must be set to a secret of at least"),
    ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS must name the host names"),
    ({}, "Postgres runs with fsync or full_page_writes off"),  # as the servers of the tests do
    ({"DATABASE_URL": ""}, "DATABASE_URL is not set"),
    ({"DATABASE_URL": "postgresql:///x?host=/nowhere"}, "The database cannot be reached"),
    ({"BROKER_URL": ""}, "BROKER_URL is not set."),
    ({"AUDIT_KEY": "short"}, "AUDIT_KEY must be a secret of at least"),
]


@pytest.mark.parametrize(
    ("env", "words"),
    often([WRONG[1], WRONG[6]], WRONG),
    ids=[
        "debug",
        "default secret",
        "short secret",
        "any host",
        "fsync",
        "no url",
        "database away",
        "no broker",
        "short key",
    ],
)
def test_in_production(run: Run, env: dict[str, str], words: str) -> None:
    said = run(CHECK, **{"JOBPLATFORM_PROFILE": "production", "ALLOWED_HOSTS": "jobs.example.com"} | env)

    assert said.sentence(words), said.text


def test_the_check_of_a_deployment_has_nothing_to_say(run: Run) -> None:
    said = run(
        [*CHECK, "--deploy", "--tag", "security"], JOBPLATFORM_PROFILE="production", ALLOWED_HOSTS="jobs.example.com"
    )

    assert (said.code, "no issues" in said.text) == (0, True), said.text


def test_a_process_refuses_as_the_check_does(run: Run) -> None:
    said = run(RELAY, JOBPLATFORM_PROFILE="production", ALLOWED_HOSTS="jobs.example.com", DEBUG="1")

    assert said.sentence("DEBUG must be off in production."), said.text


@pytest.mark.parametrize(
    "command",
    often([CHECK, WORKER], [CHECK, WORKER, RELAY, BEAT, WEB]),
    ids=["check", "worker", "relay", "beat", "web"],
)
def test_a_redis_that_would_evict_doorbells(run: Run, scratch_servers: Embedded, command: list[str]) -> None:
    """T17."""
    with broker(scratch_servers.broker_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")

    said = run(command, BROKER_URL=scratch_servers.broker_url)

    assert said.sentence("Redis evicts keys (allkeys-lru): set maxmemory-policy to noeviction"), said.text


def test_a_schedule_of_a_kind_that_nobody_handles(run: Run, database: str) -> None:
    with psycopg.connect(database) as link:
        link.execute(
            "insert into django_celery_beat_intervalschedule (id, every, period) values (1000, 60, 'seconds')"
            " on conflict do nothing"
        )
        link.execute(SCHEDULE)

    said = run(CHECK)

    assert said.sentence("The schedule 'nightly' names the kind 'nobody.knows', which no handler registers."), said.text


def test_flower_without_a_password(run: Run) -> None:
    said = run(["-m", "celery", "-A", "jobplatform", "flower", "--address=127.0.0.1", "--port=0"], FLOWER_BASIC_AUTH="")

    assert said.sentence("FLOWER_BASIC_AUTH must be set to user:password"), said.text


def test_a_production_that_is_set_up_rightly_is_checked_for_its_deployment_without_a_word(
    run: Run, scratch_servers: Embedded, tmp_path: Path
) -> None:
    """Durable servers, a strong secret, a named host, and processes that are not the owner of the tables."""
    owner = scratch_servers.database_url
    parts = urlsplit(owner)
    app = urlunsplit(parts._replace(netloc="checked_app:a-long-password@" + (parts.hostname or "")))
    env = {
        "JOBPLATFORM_PROFILE": "production",
        "SECRET_KEY": secrets.token_urlsafe(64),
        "ALLOWED_HOSTS": "jobs.example.com",
        "BROKER_URL": scratch_servers.broker_url,
        "MIGRATION_DATABASE_URL": owner,
        "DATABASE_URL": app,
        "DATABASE_ROLES": "checked",
    }
    made = run(["manage.py", "setup_database"], **env)
    assert made.code == 0, made.text

    said = run(["manage.py", "check", "--deploy", "--fail-level", "WARNING"], **env)

    assert said.code == 0, said.text
    assert "WARNINGS" not in said.text
