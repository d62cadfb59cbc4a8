from pathlib import Path

import pytest

from events.topics import EVENT_TYPES
from jobs import models
from jobs.states import CANCELLABLE, ENDED, REDRIVABLE, TRANSITIONS, Status, mermaid, sources

ROOT = Path(__file__).parents[3]


def test_every_status_can_be_reached() -> None:
    assert {t.target for t in TRANSITIONS} == set(Status)


def test_every_status_that_is_no_end_can_be_left() -> None:
    assert set(Status) - {t.source for t in TRANSITIONS} <= ENDED


def test_processing_is_left_by_its_owner_only() -> None:
    by_hand = {t.verb for t in TRANSITIONS if t.source not in {Status.PROCESSING, None}}
    by_owner = {t.verb for t in TRANSITIONS if t.source is Status.PROCESSING}

    assert not by_hand & by_owner


def test_the_sets_follow_from_the_table() -> None:
    assert sources("cancel") == CANCELLABLE
    assert sources("redrive") == REDRIVABLE


def test_an_unknown_verb_has_no_source() -> None:
    with pytest.raises(KeyError):
        sources("vanish")


def test_every_transition_but_the_claim_publishes_a_known_event() -> None:
    known = set(EVENT_TYPES) | {"job.approved"}  # of stages that register them

    assert {t.event for t in TRANSITIONS if t.verb != "claim"} <= known


def test_the_check_of_the_table_lists_every_status() -> None:
    (check,) = models.Job._meta.constraints

    assert all(repr(status.value) in repr(check) for status in Status)


def test_the_drawing_in_the_documentation_is_current() -> None:
    assert mermaid() in (ROOT / "docs" / "lifecycle.md").read_text()
