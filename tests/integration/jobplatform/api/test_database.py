"""Statements of the hottest paths, and what may be tried again, against the real server."""

import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, OperationalError, connection, connections, transaction

from jobplatform.api.database import Statement, Trouble, retry_transient, trouble
from projects.models import Project

SUM = Statement("test_sum", "select $1::int + $2::int, null, 'é', 'x'::bytea")
NAMES = Statement("test_names", "select name from projects_project order by name")
RENAME = Statement("test_rename", "update projects_project set name = $2 where slug = $1 returning name")
PID = Statement("test_pid", "select pg_backend_pid()")


def backend() -> int:
    row = PID.row()
    assert row is not None
    return int(row[0] or 0)


@pytest.fixture
def killer() -> Iterator[psycopg.Connection[Any]]:
    """Another connection, to do harm with."""
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as link:
        yield link


@pytest.mark.django_db
class TestStatement:
    def test_it_takes_and_gives_texts_as_bytes_and_null_as_none(self) -> None:
        assert SUM.row(b"2", b"3") == [b"5", None, "é".encode(), rb"\x78"]
        assert SUM.row(None, b"3") == [None, None, "é".encode(), rb"\x78"]

    def test_it_is_prepared(self) -> None:
        for _ in range(5):
            SUM.rows(b"1", b"1")

        with connection.cursor() as cursor:
            cursor.execute("select count(*) from pg_prepared_statements where statement = %s", [SUM._sql])
            assert cursor.fetchone() == (1,)

    def test_after_a_rollback_it_still_runs(self) -> None:
        for _ in range(3):
            with pytest.raises(DatabaseError), transaction.atomic():
                SUM.rows(b"x", b"1")
            assert SUM.row(b"1", b"1") is not None

    def test_it_sees_and_joins_the_callers_transaction(self) -> None:
        Project.objects.create(name="before", slug="s")
        with transaction.atomic():
            assert RENAME.row(b"s", b"after") == [b"after"]
            transaction.set_rollback(True)

        assert NAMES.rows() == [[b"before"]]

    def test_without_rows_there_is_no_row(self) -> None:
        assert NAMES.row() is None
        assert NAMES.rows() == []

    def test_its_errors_are_djangos(self) -> None:
        with pytest.raises(DatabaseError) as failed, transaction.atomic():
            SUM.rows(b"x", b"1")

        assert trouble(failed.value) is Trouble.BAD_VALUE
        assert SUM.row(b"1", b"1") is not None


class TestStatementOutsideOfATransaction:
    def test_it_is_prepared_once_by_its_name(self, committed: None) -> None:
        for _ in range(5):
            SUM.rows(b"1", b"1")

        with connection.cursor() as cursor:
            cursor.execute("select name from pg_prepared_statements where statement = %s", [SUM._sql])
            assert cursor.fetchall() == [("test_sum",)]

    def test_it_gives_the_same_as_inside(self, committed: None) -> None:
        outside = [SUM.row(b"2", b"3"), SUM.row(None, b"3"), NAMES.row()]
        with transaction.atomic():
            assert [SUM.row(b"2", b"3"), SUM.row(None, b"3"), NAMES.row()] == outside

    def test_after_a_rollback_it_is_prepared_anew(self, committed: None) -> None:
        SUM.rows(b"1", b"1")
        with transaction.atomic():
            SUM.rows(b"1", b"1")  # what psycopg has prepared makes it clean up
        with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("select 1/0")
        with connection.cursor() as cursor:
            cursor.execute("select name from pg_prepared_statements where name = 'test_sum'")
            assert cursor.fetchall() == []  # psycopg dropped it

        assert SUM.row(b"1", b"2") is not None

    def test_it_opens_the_connection(self, committed: None) -> None:
        connection.close()

        assert SUM.row(b"1", b"1") is not None

    def test_the_first_statement_of_a_transaction_is_inside_of_it(self, committed: None) -> None:
        Project.objects.create(name="before", slug="s")
        with transaction.atomic():
            RENAME.rows(b"s", b"after")  # before anything else: psycopg has not said BEGIN yet
            transaction.set_rollback(True)

        assert NAMES.rows() == [[b"before"]]

    def test_a_dead_connection_is_opened_anew(self, committed: None, killer: psycopg.Connection[Any]) -> None:
        before = backend()
        killer.execute("select pg_terminate_backend(%s, 5000)", [before])

        assert backend() != before

    def test_a_connection_of_a_crashed_server_is_opened_anew(self, committed: None) -> None:
        before = backend()
        raw: Any = connection.connection
        ours, servers = socket.socketpair()
        os.dup2(ours.fileno(), raw.fileno())  # as a crash leaves it: a last warning, and nobody to write to
        fields = b"SWARNING\0C57P02\0Mterminating connection because of crash\0\0"
        servers.sendall(b"N" + (len(fields) + 4).to_bytes(4, "big") + fields)
        ours.close()
        servers.close()

        assert backend() != before

    def test_inside_of_a_transaction_a_dead_connection_is_an_error(
        self, committed: None, killer: psycopg.Connection[Any]
    ) -> None:
        transaction.set_autocommit(False)
        killer.execute("select pg_terminate_backend(%s, 5000)", [backend()])
        with pytest.raises(OperationalError) as failed:
            SUM.rows(b"1", b"1")

        assert trouble(failed.value) is Trouble.UNREACHABLE
        connection.close()

    def test_a_server_that_forgot_is_reminded(self, committed: None) -> None:
        SUM.rows(b"1", b"1")
        with connection.cursor() as cursor:
            cursor.execute("deallocate all")

        assert SUM.row(b"1", b"2") is not None

    def test_a_migration_under_it_does_no_harm(self, committed: None) -> None:
        every = Statement("test_every", "select * from test_changing")
        with connection.cursor() as cursor:
            cursor.execute("create table test_changing (a int)")
            try:
                cursor.execute("insert into test_changing values (1)")
                assert every.rows() == [[b"1"]]
                cursor.execute("alter table test_changing add b int default 2")
                assert every.rows() == [[b"1", b"2"]]
            finally:
                cursor.execute("drop table test_changing")

    def test_where_there_is_no_server_the_database_is_unavailable(self, committed: None) -> None:
        settings = connection.settings_dict
        host = settings["HOST"]
        connection.close()
        settings["HOST"] = "/nowhere"
        try:
            with pytest.raises(OperationalError) as failed:
                SUM.rows(b"1", b"1")
        finally:
            settings["HOST"] = host

        assert trouble(failed.value) is Trouble.UNREACHABLE


class TestRetry:
    def test_a_deadlock_is_tried_again_and_both_succeed(self, committed: None) -> None:
        first, second = (Project.objects.create(name=name, slug=name) for name in "ab")
        barrier = Barrier(2, timeout=20)
        tries: list[str] = []

        def swap(mine: Project, other: Project) -> str:
            def attempt() -> str:
                tries.append(mine.name)
                with transaction.atomic():
                    Project.objects.filter(pk=mine.pk).update(weight=2)
                    if len(tries) <= 2:
                        barrier.wait()
                    Project.objects.filter(pk=other.pk).update(weight=3)
                return mine.name

            try:
                return retry_transient(attempt)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(swap, (first, second), (second, first)))

        assert done == ["a", "b"]
        assert len(tries) == 3

    def test_it_gives_up_after_so_many_tries(self, committed: None) -> None:
        tries = []

        def conflict() -> None:
            tries.append(time.monotonic())
            with connection.cursor() as cursor:
                cursor.execute("do $$ begin raise exception 'no' using errcode = '40001'; end $$")

        with pytest.raises(OperationalError) as failed:
            retry_transient(conflict, attempts=3)

        assert len(tries) == 3
        assert tries[-1] - tries[0] < 2
        assert trouble(failed.value) is Trouble.CONFLICT

    def test_another_error_is_not_tried_again(self, committed: None) -> None:
        tries = []

        def wrong() -> None:
            tries.append(1)
            with connection.cursor() as cursor:
                cursor.execute("select 1/0")

        with pytest.raises(DatabaseError):
            retry_transient(wrong)

        assert len(tries) == 1

    @pytest.mark.django_db
    def test_in_somebody_elses_transaction_nothing_is_tried_again(self) -> None:
        tries = []

        def conflict() -> None:
            tries.append(1)
            with connection.cursor() as cursor:
                cursor.execute("do $$ begin raise exception 'no' using errcode = '40P01'; end $$")

        with pytest.raises(OperationalError), transaction.atomic():
            retry_transient(conflict)

        assert len(tries) == 1


@pytest.mark.parametrize(
    "statement, expected",
    [
        ("set local lock_timeout = '1ms'; lock table projects_apikey", Trouble.BUSY),
        ("set local statement_timeout = '1ms'; select pg_sleep(1)", Trouble.BUSY),
        ("set transaction read only; delete from projects_apikey", Trouble.UNREACHABLE),
        ("select 1/0", Trouble.BAD_VALUE),
        ("select nothing", Trouble.OURS),
    ],
)
def test_trouble_is_told_apart(
    committed: None, killer: psycopg.Connection[Any], statement: str, expected: Trouble
) -> None:
    with killer.transaction():
        killer.execute("lock table projects_apikey in access share mode")
        with pytest.raises(DatabaseError) as failed, transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)

    assert trouble(failed.value) is expected
