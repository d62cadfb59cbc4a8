"""A backup, restored into another cluster beside a newer broker (T34): the log goes on, nothing takes effect twice."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from events import consumers, log
from events.consumers import Subscription
from events.log import NewEvent
from jobplatform.places import wheel_programs
from tests.chaos.events.reading import NAME, Reader
from tests.chaos.jobs.test_broker import message
from tests.databases import Cluster, django_on
from tests.processes import PROJECT, Platform, Servers, broker

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Servers]:
    """Another cluster."""
    with Servers() as servers:
        yield servers


def run(program: str, url: str, *arguments: str) -> None:
    """Run a program of PostgreSQL on a database."""
    parts = urlsplit(url)
    command = [str(wheel_programs().postgres_bin / program), "--no-owner", *arguments]
    target = urlunsplit(parts._replace(netloc=f"{parts.username}@"))
    environment = {"PATH": os.defpath, "PGPASSWORD": parts.password or ""}
    subprocess.run([*command, "--dbname", target], env=environment, check=True, capture_output=True)


def moved(url: str, cluster: Cluster, directory: Path) -> str:
    """Dump a database and restore it into a new one of another cluster; returns its URL."""
    run("pg_dump", url, "--format=custom", "--file", str(directory / "dump"))
    new = cluster.make_empty()
    run("pg_restore", new, "--exit-on-error", str(directory / "dump"))
    return new


class Restored(Cluster):
    """A cluster whose next database is one that was restored."""

    def __init__(self, cluster: Cluster, url: str) -> None:
        super().__init__(cluster.url)
        self._restored = url

    def make(self) -> str:
        """The restored one."""
        return self._restored


def test_work_goes_on_after_a_restore_into_another_cluster(
    servers: Servers, elsewhere: Servers, django_db_blocker: DjangoDbBlocker, tmp_path: Path
) -> None:
    with django_db_blocker.unblock(), Platform(servers.cluster, servers.broker_url) as first:
        first.relay()
        worker = first.worker()
        done = first.submit("test.within", 20)
        first.wait_ended(done)
        running = first.submit("test.gated", 2, {"gate": "restore"})
        first.wait_until(lambda: len(first.effects.of("began", running)) == 2, "both to begin")
        waiting = first.submit("test.within", 10, max_attempts=5)
        first.wait_until(lambda: first.by_status(waiting) == {"queued": 10}, "the others to wait")
        last = first.value("select max(position) from events_event")
        url = moved(first.database_url, elsewhere.cluster, tmp_path)
        later = first.submit("test.within", 5)  # not in the backup
        worker.kill()

        with broker(first.broker_url) as client:  # it knows of what the backup does not
            client.lpush("default", *[message("test.within", [str(uuid4())]) for _ in range(5)])
        second = Platform(Restored(elsewhere.cluster, url), elsewhere.broker_url)
        with second:
            with broker(second.broker_url) as client:
                client.lpush("default", *[message("test.gated", [str(uuid4())]) for _ in range(5)])
            second.effects.open("restore")
            second.relay()
            second.worker()
            second.wait_ended([*done, *running, *waiting])
            more = second.submit("test.within", 5)
            second.wait_ended(more)

            everything = [*done, *running, *waiting, *more]
            assert second.by_status(everything) == {"processed": 37}
            assert second.rows("select id from jobs_job where id = any(%s)", later) == []
            assert second.rows("select job_id from effect group by 1 having count(*) > 1") == []
            assert second.value("select count(*) from effect where job_id = any(%s)", everything) == 37
            assert second.effects.count("ran", done).total() == 0
            assert second.value("select min(position) from events_event where subject_id = any(%s)", more) > last
            turned = """
                select 1 from (select seq, lag(seq) over (partition by subject_id order by position, id) as before
                               from events_event) e
                where seq <> coalesce(before, 0) + 1"""
            assert second.rows(turned) == []


class Beside(Platform):
    """A platform on a broker that has lived on."""

    def _empty_broker(self) -> None:
        """Leave what is in it."""


HANDLERS = ("tests.handlers.good", "tests.handlers.consuming")
SEEN = "create table seen (number bigserial, subject_id uuid, seq int, pid int)"
UNSEEN = """
    select count(*) from events_event e
    where not exists (select 1 from seen s where (s.subject_id, s.seq) = (e.subject_id, e.seq))"""


def test_an_old_backup_beside_the_broker_that_has_lived_on(
    servers: Servers, django_db_blocker: DjangoDbBlocker, tmp_path: Path
) -> None:
    """In the same cluster, with the messages that are really left there: taken and untaken ones of later doorbells."""
    env = {"JOBPLATFORM_HANDLERS": ",".join(HANDLERS)}
    with django_db_blocker.unblock(), Platform(servers.cluster, servers.broker_url, handlers=HANDLERS) as first:
        first.execute(SEEN)
        first.relay(env=env)
        worker = first.worker()
        done = first.submit("test.within", 20)
        first.wait_ended(done)
        first.wait_until(lambda: first.value(UNSEEN) == 0, "all events to be seen")
        seen = first.value("select count(*) from seen")
        running = first.submit("test.gated", 2, {"gate": "backup"})
        first.wait_until(lambda: len(first.effects.of("began", running)) == 2, "both to begin")
        url = moved(first.database_url, servers.cluster, tmp_path)
        first.effects.open("backup")
        later = first.submit("test.within", 20)
        first.wait_ended([*running, *later])
        again = first.submit("test.gated", 2, {"gate": "later"})
        first.wait_until(lambda: len(first.effects.of("began", again)) == 2, "both to begin")
        worker.kill()
        with broker(first.broker_url) as client:
            assert client.hlen("unacked") > 0  # what the dead worker had taken

        with Beside(Restored(servers.cluster, url), servers.broker_url, handlers=HANDLERS) as second:
            second.effects.open("backup")
            second.relay(env=env)
            second.worker()
            more = second.submit("test.within", 20)
            everything = [*done, *running, *more]
            second.wait_ended(everything)
            second.wait_until(lambda: second.value(UNSEEN) == 0, "all events to be seen")

            assert second.by_status(everything) == {"processed": len(everything)}
            assert second.value("select count(*) from jobs_job where id = any(%s)", [*later, *again]) == 0
            assert second.rows("select job_id from effect group by 1 having count(*) > 1") == []
            assert second.effects.count("ran", [*done, *later, *again]).total() == 0
            assert second.rows("select subject_id, seq from seen group by 1, 2 having count(*) > 1") == []
            assert second.value("select count(*) from seen") > seen


@pytest.fixture
def reader(database: str) -> Iterator[Reader]:
    reader = Reader()
    before = dict(consumers.SUBSCRIPTIONS)
    consumers.SUBSCRIPTIONS.clear()
    consumers.SUBSCRIPTIONS[NAME] = Subscription(NAME, reader.consume, 50)
    connection.cursor().execute(
        "create table seen (number bigserial, position bigint, event_id bigint, subject_id uuid, seq int, type text)"
    )
    # A cluster that has lived for a while.
    connection.cursor().execute(
        "do $$ begin for i in 1..5000 loop perform pg_current_xact_id(); commit; end loop; end $$"
    )
    consumers.ensure_rows()
    yield reader
    consumers.SUBSCRIPTIONS.clear()
    consumers.SUBSCRIPTIONS.update(before)


def event(subject: UUID, seq: int) -> None:
    log.append([NewEvent(PROJECT, "job.queued", subject, seq, {})])


@pytest.mark.parametrize("rotated", [False, True], ids=["with its events", "whose events were rotated away"])
def test_a_consumer_goes_on_where_it_stood_in_another_cluster(
    reader: Reader, database: str, elsewhere: Servers, tmp_path: Path, rotated: bool
) -> None:
    subject = uuid4()
    event(subject, 1)
    assert reader.run() == 1
    if rotated:
        connection.cursor().execute("delete from events_event")
    else:
        event(subject, 2)
    url = moved(database, elsewhere.cluster, tmp_path)
    with psycopg.connect(url) as link:  # in the other cluster transaction ids are lower
        row = link.execute("select pg_current_xact_id()::text::bigint, position from events_consumer").fetchone()
        assert row is not None
        assert row[0] < row[1]

    with django_on(url):
        assert log.adopt_cluster()
        event(subject, 3 if not rotated else 2)
        assert reader.run() == (1 if rotated else 2)
        assert reader.seen(subject) == ([1, 2] if rotated else [1, 2, 3])
        assert not log.adopt_cluster()
    elsewhere.cluster.drop(url)
