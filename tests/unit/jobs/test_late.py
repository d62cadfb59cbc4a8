"""A line for what runs longer than expected, and not a line for each."""

from dataclasses import dataclass
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from jobs import late
from jobs.late import Late

PROJECT = UUID(int=9)


@dataclass
class Job:
    id: UUID
    attempt: int = 1
    kind: str = "a.b"
    project_id: UUID = PROJECT


def said(of: Late, expect: float | None, ages: dict[int, float], now: float = 1000.0) -> list[str]:
    with capture_logs() as lines:
        of.look(expect, [(Job(UUID(int=number)), now - age) for number, age in ages.items()], now)
    return [f"{line['handler']} {line['action']} {line['job'].int}: {line['details']}" for line in lines]


def test_only_what_is_late_is_said_and_only_once() -> None:
    of = Late()

    assert said(of, 2.0, {1: 1.9}) == []
    assert said(of, 2.0, {1: 2.1}) == ["a.b late 1: 2.1 s of 2 s"]
    assert said(of, 2.0, {1: 2.2}) == []
    assert said(of, None, {2: 1e6}) == []


def test_many_are_one_line_which_counts_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    of = Late()
    assert len(said(of, 1.0, dict.fromkeys(range(50), 5.0))) == 1
    monkeypatch.setattr(late, "EVERY_SECONDS", 0.0)

    assert said(of, 1.0, {99: 5.0}) == ["a.b late 99: 5.0 s of 1 s, and 49 more since the last line"]


def test_what_has_ended_is_forgotten() -> None:
    of = Late()
    said(of, 1.0, dict.fromkeys(range(50), 5.0))
    said(of, 1.0, {})

    assert of._seen == {}
