import sys
from pathlib import Path

import pytest

from jobplatform import children
from jobplatform.api import connections
from jobplatform.children import Log, procfile
from jobs import waiting

PORTS = {"PORT": "8000", "LIVE_PORT": "8001", "FLOWER_PORT": "5555"}


def test_the_procfile_names_every_process() -> None:
    assert procfile(PORTS).keys() >= {"web", "live", "relay", "worker", "events", "beat", "flower"}


def test_programs_are_those_of_this_environment() -> None:
    commands = procfile(PORTS)

    assert commands["relay"] == [sys.executable, "manage.py", "relay"]
    assert commands["web"][:3] == [sys.executable, "-m", "granian"]
    assert commands["web"][commands["web"].index("--port") + 1] == "8000"


def test_the_web_process_has_a_thread_for_each_that_may_wait_and_some_for_the_others() -> None:
    web = procfile(PORTS)["web"]

    threads = int(web[web.index("--blocking-threads") + 1])

    assert threads >= waiting.MOST + 2 * connections.MOST


def test_a_name_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        procfile({})


@pytest.fixture
def log(tmp_path: Path) -> Log:
    path = tmp_path / "web.log"
    path.write_text("of an earlier run\n")
    return Log(path)


def append(log: Log, text: str) -> None:
    with log.path.open("a") as file:
        file.write(text)


def test_a_log_is_followed_by_whole_lines_from_now_on(log: Log) -> None:
    append(log, "one\ntw")
    assert log.new_lines() == ["one"]
    assert log.new_lines() == []

    append(log, "o\nthree\n")
    assert log.new_lines() == ["two", "three"]


def test_a_line_without_an_end_is_taken_in_parts_and_read_once(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "LONGEST_READ", 10)
    monkeypatch.setattr(children, "LOG_LIMIT", 60)
    append(log, "." * 35)

    assert [log.new_lines() for _ in range(4)] == [["." * 10], ["." * 10], ["." * 10], []]
    append(log, "\nnext\n")
    assert [line for _ in range(3) for line in log.new_lines()] == ["." * 5, "next"]
    append(log, "." * 30)
    assert [line for _ in range(4) for line in log.new_lines()] == ["." * 10] * 3
    assert log.path.stat().st_size == 0, "it was set aside as well"


def test_a_log_that_grows_faster_than_it_is_read_loses_nothing(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "LONGEST_READ", 10)
    monkeypatch.setattr(children, "LOG_LIMIT", 60)
    append(log, "".join(f"{number:02}\n" for number in range(30)))

    lines = [line for _ in range(30) for line in log.new_lines()]

    assert lines == [f"{number:02}" for number in range(30)]


def test_a_log_that_grows_without_measure_is_set_aside_unread(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "LONGEST_READ", 10)
    monkeypatch.setattr(children, "LOG_LIMIT", 60)
    append(log, "line\n" * 100)

    assert log.new_lines() == ["line", "line"]
    assert log.path.stat().st_size == 0
    assert log.new_lines() == []


def test_the_tail_of_a_log_is_of_this_run(log: Log) -> None:
    append(log, "one\ntwo\nthree")

    assert log.tail() == "one\ntwo\nthree"
    assert log.tail(1) == "three"


def test_a_long_log_is_set_aside_while_its_writer_goes_on(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "LOG_LIMIT", 20)
    with log.path.open("a", buffering=1) as writer:
        writer.write("a line that is long enough\n")
        assert log.new_lines() == ["a line that is long enough"]
        assert log.path.read_text() == ""
        writer.write("the next\n")

    assert log.new_lines() == ["the next"]
    assert log.path.with_name("web.log.1").read_text().endswith("long enough\n")
