import re
from pathlib import Path
from uuid import UUID

import pytest

from events.topics import EVENT_TYPES, RESERVED, EventType, begins_a_type, is_reported, is_type, subject_of, topics_of

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("row", EVENT_TYPES.values(), ids=EVENT_TYPES)
def test_a_type_is_noun_dot_past_verb_and_feeds_something(row: EventType) -> None:
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+", row.name)
    assert row.topics
    assert row.title.endswith(".")


@pytest.mark.parametrize("row", EVENT_TYPES.values(), ids=EVENT_TYPES)
def test_the_documentation_lists_every_type(row: EventType) -> None:
    assert f"| `{row.name}` | {row.title} |" in (ROOT / "docs" / "events.md").read_text()


def test_a_type_of_a_later_version_has_no_topics() -> None:
    assert topics_of("job.teleported") == ()


def test_what_others_report_feeds_the_jobs_that_wait() -> None:
    assert topics_of("payment.arrived") == ("job_events",)
    assert topics_of("payment") == ()


@pytest.mark.parametrize("noun", sorted(RESERVED))
def test_nobody_reports_about_the_nouns_of_the_platform(noun: str) -> None:
    assert not is_reported(f"{noun}.arrived")
    assert is_reported(f"my_{noun}.arrived")


@pytest.mark.parametrize("text", ["", "j", "job", "job.", "job.f", "pay", "payment.", "payment.arr"])
def test_how_a_type_may_begin(text: str) -> None:
    assert begins_a_type(text)


@pytest.mark.parametrize("text", ["Job", "job.x", "job.failed.", "pay ment", ".", "a" * 101])
def test_how_no_type_begins(text: str) -> None:
    assert not begins_a_type(text)
    assert not is_type(text)


def test_subjects_of_projects_and_types_are_told_apart() -> None:
    one, other = UUID(int=1), UUID(int=2)
    same = [subject_of(one, name, "order-7") for name in ("payment.arrived", "payment.refused")]
    apart = [
        subject_of(other, "payment.arrived", "order-7"),
        subject_of(one, "payment.arrived", "order-8"),
        subject_of(one, "payment.arrived", ""),
        subject_of(one, "payment.refused", ""),
        subject_of(one, "payment.arrived", "type:payment.arrived"),
    ]

    assert len(set(same)) == 1
    assert len({*same, *apart}) == 6
