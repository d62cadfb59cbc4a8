"""The audit record becomes a chain, whoever commits when, and whoever dies; and nothing sealed can be changed."""

import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.core.management import call_command
from django.db import IntegrityError, ProgrammingError, connection, transaction

from benchmarks.explain import statements
from events import audit, heads, sealing, verification
from events.models import AuditRecord
from jobs.relay import Relay
from tests.databases import Cluster

pytestmark = pytest.mark.usefixtures("committed", "no_heads")

OURS, THEIRS = UUID(int=21), UUID(int=22)
ACT = (
    "insert into events_auditrecord (project_id, actor, action, subject_type, subject_id, reason, data)"
    " values (%s, 'user:anna', 'test.act', 'test', '1', '', '{}')"
)
MADE = (
    "insert into events_auditrecord (actor, action, subject_type, subject_id, reason, data, SEAL)"
    " values ('a', 'b', 'c', 'd', 'e', '{}', VALUES)"
)


class Nothing:
    """A storage without any object."""

    def create(self, key: str, body: bytes) -> bool:
        return True

    def get(self, key: str) -> bytes:
        raise AssertionError(key)

    def keys(self, folder: str) -> list[str]:
        return []


@pytest.fixture
def no_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "_storages", [Nothing()])


def act(project: UUID | None = OURS, number: int = 1, **data: Any) -> None:
    for _ in range(number):
        audit.record(
            action="test.act", actor="user:anna", subject_type="test", subject_id="1", project_id=project, data=data
        )


def numbers(project: UUID | None = OURS) -> list[int | None]:
    return list(AuditRecord.objects.filter(project_id=project).order_by("id").values_list("chain_no", flat=True))


def sql(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)


@pytest.fixture
def link(cluster: Cluster) -> Iterator[Callable[[], psycopg.Connection[Any]]]:
    """Another connection to this test's database, in a transaction."""
    opened: list[psycopg.Connection[Any]] = []

    def connect() -> psycopg.Connection[Any]:
        opened.append(psycopg.connect(cluster.named(connection.settings_dict["NAME"])))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


def findings() -> list[str]:
    return [finding.text for finding in verification.verify().findings]


def test_each_project_has_a_chain_of_its_own_and_the_platform_has_one() -> None:
    for project in (OURS, THEIRS, None, OURS, None, OURS):
        act(project)

    assert sealing.seal() == 6
    assert numbers(OURS) == [1, 2, 3]
    assert numbers(THEIRS) == [1]
    assert numbers(None) == [1, 2]
    assert sealing.seal() == 0
    report = verification.verify()
    assert (report.findings, report.records) == ([], 6)
    assert [verdict.chain for verdict in report.verdicts] == [str(OURS), str(THEIRS), "platform"]


def test_a_chain_goes_on_over_slices_and_calls() -> None:
    act(number=sealing.SLICE + 3)
    sealing.seal()
    act(number=2)
    sealing.seal()

    assert numbers() == list(range(1, sealing.SLICE + 6))
    before = [sealing.START, *AuditRecord.objects.order_by("chain_no").values_list("hash", flat=True)]
    assert list(AuditRecord.objects.order_by("chain_no").values_list("prev_hash", flat=True)) == before[:-1]
    assert findings() == []


def test_whatever_the_data_is_it_is_sealed_and_verified() -> None:
    deep = "[" * 3000 + "]" * 3000
    sql(
        "insert into events_auditrecord (occurred_at, actor, action, subject_type, subject_id, reason, data)"
        " values ('infinity', 'a', 'b', 'c', 'd', 'e', '{\"n\": 1e400, \"wide\": 0.10000000000000000000001}'),"
        "        ('4713-01-01 BC', E'\\u202e\\t\\x01\"', 'b', '', '', '', %s)",
        deep,
    )

    assert sealing.seal() == 2
    for setting in ("set timezone = 'Asia/Kathmandu'", "set datestyle = 'German'", "set extra_float_digits = 0"):
        sql(setting)
        assert findings() == []


def test_who_commits_late_with_a_lower_id_is_sealed_later(link: Callable[[], psycopg.Connection[Any]]) -> None:
    late = link()
    late.execute(ACT, (OURS,))  # takes its id now
    act(number=2)
    assert sealing.seal() == 2
    late.commit()
    assert numbers() == [None, 1, 2]
    assert sealing.seal() == 1

    assert numbers() == [3, 1, 2]
    assert findings() == []


def test_one_sealer_works_at_a_time(link: Callable[[], psycopg.Connection[Any]]) -> None:
    act()
    other = link()
    other.execute("select pg_advisory_xact_lock(%s)", (sealing.LOCK,))
    assert sealing.seal() == 0
    other.commit()

    assert sealing.seal() == 1


def test_sealers_side_by_side_make_one_chain() -> None:
    act(number=450)
    start = threading.Barrier(4)

    def work() -> None:
        start.wait()
        try:
            for _ in range(40):
                sealing.seal(seconds=0)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sealing.seal()

    assert sorted(number for number in numbers() if number) == list(range(1, 451))
    assert findings() == []


def test_without_the_lock_two_sealers_cannot_fork_a_chain(
    link: Callable[[], psycopg.Connection[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard behind the guard: a number is taken once, also in the chain of the platform."""
    for project in (OURS, None):
        act(project, 2)
        first, second = AuditRecord.objects.filter(project_id=project).order_by("id").values_list("id", flat=True)
        seal = "update events_auditrecord set chain_no = 1, prev_hash = '', hash = '' where id = %s"
        sql(seal, first)
        with pytest.raises(IntegrityError, match="events_audit_chain"):
            sql(seal, second)


def test_a_sealer_that_dies_between_its_statements_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    act(number=3)

    class Died(Exception):
        pass

    def die(*_: Any) -> str:
        raise Died

    real = sealing.mac
    for seals in range(3):
        count = iter(range(10))
        monkeypatch.setattr(sealing, "mac", lambda facts: real(facts) if next(count) < seals else die())  # noqa: B023
        with pytest.raises(Died):
            sealing.seal()
        assert numbers() == [None, None, None]
    monkeypatch.setattr(sealing, "mac", real)

    assert sealing.seal() == 3
    assert findings() == []


def test_a_sealer_whose_server_process_is_ended_in_the_middle_leaves_a_whole_chain(
    link: Callable[[], psycopg.Connection[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    act(number=250)
    real, other, calls = sealing.mac, link(), iter(range(1000))
    other.autocommit = True
    sql("select 1")
    pid = connection.connection.info.backend_pid

    def mac(facts: Any) -> str:
        if next(calls) == 150:
            other.execute("select pg_terminate_backend(%s, 10000)", (pid,))
        return real(facts)

    monkeypatch.setattr(sealing, "mac", mac)
    with pytest.raises(Exception, match=r"terminat|closed"):
        sealing.seal()
    connection.close()
    monkeypatch.setattr(sealing, "mac", real)
    assert numbers() == [*range(1, 101), *[None] * 150]
    sealing.seal()

    assert numbers() == list(range(1, 251))
    assert findings() == []


# ------------------------------------------------------------------------------------------------ append-only
@pytest.mark.parametrize(
    "statement",
    [
        "update events_auditrecord set reason = 'another'",
        "update events_auditrecord set data = '{\"a\": 1.0}'",
        "update events_auditrecord set chain_no = chain_no + 10",
        "update events_auditrecord set chain_no = null, prev_hash = null, hash = null",
        "update events_auditrecord set hash = 'x'",
        "update events_auditrecord set hash = hash",
        "delete from events_auditrecord",
        "truncate events_auditrecord",
        MADE.replace("SEAL", "chain_no, prev_hash, hash").replace("VALUES", "2, '', ''"),
        MADE.replace("SEAL", "hash").replace("VALUES", "''"),
    ],
)
def test_nothing_sealed_can_be_changed_or_made(statement: str) -> None:
    act(a=1)
    sealing.seal()
    with pytest.raises(ProgrammingError, match="append-only"):
        sql(statement)


@pytest.mark.parametrize(
    "changed",
    ["reason = 'another'", "chain_no = 1", "hash = 'x', prev_hash = 'y'", "data = '{\"a\": 1.00}'"],
)
def test_what_is_not_sealed_can_be_sealed_and_nothing_else(changed: str) -> None:
    act(a=1)
    with pytest.raises(ProgrammingError, match="append-only"):
        sql(f"update events_auditrecord set {changed}")
    with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
        sql("update events_auditrecord set data = '{\"a\": 1.00}', chain_no = 1, prev_hash = 'x', hash = 'y'")
    sql("update events_auditrecord set chain_no = 1, prev_hash = 'x', hash = 'y'")


# ------------------------------------------------------------------------------------------------ the upgrade
def test_records_of_a_version_without_seals_are_sealed_after_the_migration() -> None:
    call_command("migrate", "events", "0002", verbosity=0)
    for project in (OURS, None, OURS):
        sql(ACT, project)
    with pytest.raises(ProgrammingError, match="append-only"):
        sql("update events_auditrecord set reason = 'x'")
    call_command("migrate", "events", verbosity=0)
    assert numbers() == [None, None]
    sealing.seal()

    assert (numbers(), numbers(None)) == ([1, 2], [1])
    assert findings() == []


def test_the_migration_of_the_indexes_can_be_run_again() -> None:
    """As after a kill between the two, or before it was noted that both are there."""
    for left in ("drop index events_audit_chain", "select 1"):
        sql(left)
        sql("delete from django_migrations where app = 'events' and name >= '0004'")
        sql("drop table events_errorminute")  # the migration after it
        call_command("migrate", "events", verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute(
                "select indisvalid and indisunique and indnullsnotdistinct from pg_index"
                " where indexrelid = 'events_audit_chain'::regclass"
            )
            assert cursor.fetchone() == (True,)


# ------------------------------------------------------------------------------------------------ the relay
def test_the_relay_seals_in_its_round_of_chores() -> None:
    act(number=3)
    Relay(app=None).chores()  # type: ignore[arg-type] # it rings nobody

    assert numbers() == [1, 2, 3]


def test_an_audit_record_that_refuses_its_seal_does_not_stop_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    act()
    sql("update events_auditrecord set chain_no = 0, prev_hash = '', hash = ''")  # the next number would be the first
    act(number=2)
    sql(
        "update events_auditrecord set chain_no = 1, prev_hash = '', hash = '' where id = (select max(id) from events_auditrecord)"
    )
    monkeypatch.setattr(sealing, "_heads", lambda *_: {})
    relay = Relay(app=None)  # type: ignore[arg-type] # it rings nobody
    relay.chores()

    assert relay._seals_at > 0
    assert numbers() == [0, None, 1]
    assert sealing.unsealed_seconds() > 0


@pytest.mark.parametrize("analyzed", [True, False])
def test_the_relay_asks_by_the_index_of_what_is_not_sealed(*, analyzed: bool) -> None:
    sql(ACT.replace("values (%s,", "select %s::uuid,").replace("'{}')", "'{}' from generate_series(1, 3000)"), OURS)
    sealing.seal()
    if analyzed:
        sql("analyze events_auditrecord")
    with connection.cursor() as cursor:
        cursor.execute(f"explain {statements()['jobs/chores']}", {"live": 1, "consumers": []})
        plan = "\n".join(row[0] for row in cursor.fetchall())

    assert "using events_audit_unsealed" in plan
    assert "Seq Scan on events_auditrecord" not in plan


def test_the_age_of_what_waits_for_its_seal() -> None:
    assert sealing.unsealed_seconds() == 0
    sql(
        "insert into events_auditrecord (occurred_at, actor, action, subject_type, subject_id, reason, data)"
        " values (now() - interval '1 minute', 'a', 'b', 'c', 'd', 'e', '{}')"
    )
    act()
    assert 60 <= sealing.unsealed_seconds() < 90
    sealing.seal()
    assert sealing.unsealed_seconds() == 0
