"""Places: a few connections for many threads, given back while a request waits."""

import os
import signal
import threading
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, transaction

from jobplatform.api import connections
from jobplatform.api.connections import Places, away
from jobplatform.embedded import Embedded
from jobplatform.processes import wait_until
from tests.databases import django_on

pytestmark = pytest.mark.usefixtures("committed")

ENVIRON = {"PATH_INFO": "/api/v1/jobs"}


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        return int(cursor.fetchone()[0])


def call(places: Places, path: str = "/api/v1/jobs") -> bytes:
    return b"".join(places({"PATH_INFO": path}, lambda _status, _headers: None))


def threads(number: int, what: Any) -> list[Any]:
    """What each of so many threads got, one after another."""
    found = []
    for _ in range(number):
        thread = threading.Thread(target=lambda: found.append(what()))
        thread.start()
        thread.join()
    return found


def closing(places: Places) -> None:
    """Close what stands in the places."""
    for _ in range(places._free.qsize()):
        raw = places._free.get()
        if raw is not None:
            raw.close()


def test_many_threads_share_the_connections_of_few_places() -> None:
    places = Places(lambda _environ, _start: [str(backend()).encode()], most=2)

    pids = threads(10, lambda: call(places))

    assert len(set(pids)) == 2
    closing(places)


def test_a_thread_holds_nothing_between_two_requests() -> None:
    places = Places(lambda _environ, _start: [str(backend()).encode()], most=1)

    first = call(places)

    assert connection.connection is None
    assert threads(1, lambda: call(places)) == [first]
    closing(places)


def test_more_requests_than_places_work_one_after_another() -> None:
    inside, most_inside, lock = 0, 0, threading.Lock()
    all_started = threading.Barrier(6)

    def work(_environ: Any, _start: Any) -> list[bytes]:
        nonlocal inside, most_inside
        with lock:
            inside += 1
            most_inside = max(most_inside, inside)
        backend()
        with lock:
            inside -= 1
        return [b"done"]

    places = Places(work, most=2)

    def run() -> None:
        all_started.wait(20)
        call(places)

    running = [threading.Thread(target=run) for _ in range(6)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(20)

    assert most_inside <= 2
    closing(places)


def test_who_waits_makes_room_for_others() -> None:
    waits, goes_on = threading.Event(), threading.Event()

    def work(environ: Any, _start: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/waits":
            backend()
            with away():
                assert connection.connection is None
                waits.set()
                assert goes_on.wait(20)
        return [str(backend()).encode()]

    places = Places(work, most=1)
    found: list[bytes] = []
    waiting = threading.Thread(target=lambda: found.append(call(places, "/waits")))
    waiting.start()
    assert waits.wait(20)
    other = call(places)
    goes_on.set()
    waiting.join(20)

    assert found == [other]  # it came back to the same place
    assert places._free.qsize() == 1
    closing(places)


def test_who_waited_in_vain_comes_back_to_a_place_as_well() -> None:
    def work(_environ: Any, _start: Any) -> list[bytes]:
        with pytest.raises(TimeoutError), away():
            raise TimeoutError
        return [str(places._free.qsize()).encode()]

    places = Places(work, most=1)

    assert call(places) == b"0"
    assert places._free.qsize() == 1


def test_who_waits_inside_of_a_transaction_keeps_it() -> None:
    with transaction.atomic():
        pid = backend()
        with away():
            assert backend() == pid


def test_who_waits_without_a_place_holds_no_connection() -> None:
    backend()

    with away():
        assert connection.connection is None


def test_no_place_in_time_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.01)
    inside, goes_on = threading.Event(), threading.Event()

    def work(_environ: Any, _start: Any) -> list[bytes]:
        inside.set()
        goes_on.wait(20)
        return [b"done"]

    places = Places(work, most=1)
    slow = threading.Thread(target=lambda: call(places))
    slow.start()
    assert inside.wait(20)
    started: list[Any] = []

    body = b"".join(places(dict(ENVIRON), lambda status, headers: started.append((status, dict(headers)))))

    goes_on.set()
    slow.join(20)
    ((status, headers),) = started
    assert status == "503 Service Unavailable"
    assert headers["Content-Type"] == "application/problem+json"
    assert b'"overloaded"' in body
    assert places._free.qsize() == 1


def test_health_needs_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE", 0.01)

    assert call(Places(lambda _environ, _start: [b"alive"], most=0), "/healthz") == b"alive"


def test_a_connection_that_died_in_its_place_is_opened_anew() -> None:
    places = Places(lambda _environ, _start: [str(backend()).encode()], most=1)
    pid = int(call(places))
    _end(pid)

    assert int(call(places)) != pid
    closing(places)


def test_after_a_crash_of_the_server_no_place_owes_an_answer(scratch_servers: Embedded) -> None:
    def work(_environ: Any, _start: Any) -> list[bytes]:
        first = backend()
        both.wait(20)  # so that each of the two has a place of its own
        return [str(first).encode()]

    places, both = Places(work, most=2), threading.Barrier(2)

    def two() -> list[bytes]:
        found: list[bytes] = []
        running = [threading.Thread(target=lambda: found.append(call(places))) for _ in range(2)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join(30)
        return found

    with django_on(scratch_servers.database_url):
        assert len(set(two())) == 2
        os.kill(scratch_servers.pids["postgres"], signal.SIGQUIT)  # at once, without a farewell to anybody
        assert wait_until(lambda: "postgres" not in scratch_servers.pids, seconds=20)
        scratch_servers.revive()
        for server in scratch_servers.servers:
            server.wait_ready()

        assert len(set(two())) == 2
        closing(places)


def test_a_connection_that_died_while_a_request_waited_is_opened_anew() -> None:
    def work(_environ: Any, _start: Any) -> list[bytes]:
        pid = backend()
        with away():
            _end(pid)
        assert backend() != pid
        return [b"done"]

    places = Places(work, most=1)

    assert call(places) == b"done"
    closing(places)


def test_a_connection_that_dies_in_use_is_not_handed_on() -> None:
    def work(environ: Any, _start: Any) -> list[bytes]:
        pid = backend()
        if environ["PATH_INFO"] == "/dies":
            _end(pid)
        return [str(backend()).encode()]

    places = Places(work, most=1)
    with pytest.raises(OperationalError):
        call(places, "/dies")

    assert int(call(places))
    closing(places)


def test_an_open_transaction_is_not_handed_on() -> None:
    def leave_open(_environ: Any, _start: Any) -> list[bytes]:
        backend()
        raw: Any = connection.connection
        raw.pgconn.exec_(b"begin")
        return [b""]

    places = Places(leave_open, most=1)

    call(places)

    assert places._free.get() is None


def _params() -> dict[str, Any]:
    params = connection.get_connection_params()
    return {name: value for name, value in params.items() if name not in {"cursor_factory", "context"}}


def _end(pid: int) -> None:
    """End a connection from the server's side, as a restart or a crash does."""
    with psycopg.connect(**_params(), autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s)", (pid,))
        assert wait_until(lambda: _gone(other, pid), seconds=20)


def _gone(other: psycopg.Connection[Any], pid: int) -> bool:
    return other.execute("select 1 from pg_stat_activity where pid = %s", (pid,)).fetchone() is None
