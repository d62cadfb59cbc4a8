import re
from pathlib import Path

import pytest

from events.topics import EVENT_TYPES, EventType, topics_of

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
