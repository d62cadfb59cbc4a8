import datetime as dt
from uuid import UUID

import orjson
import pytest

from events import sse
from events.log import LoggedEvent
from events.serializers import place_of


def row(data: str = '{"kind": "a.b"}', type_: str = "job.queued") -> LoggedEvent:
    moment = dt.datetime(2026, 11, 22, 6, tzinfo=dt.UTC)
    return LoggedEvent(17, 4, moment, UUID(int=1), type_, UUID(int=2), 3, data)


def test_an_event_is_three_lines_and_an_empty_one() -> None:
    id_, event, data, *rest = sse.encode(row()).decode().split("\n")

    assert (id_, event, rest) == ("id: 17-4", "event: job.queued", ["", ""])
    assert orjson.loads(data.removeprefix("data: ")) == {
        "id": "17-4",
        "type": "job.queued",
        "seq": 3,
        "occurred_at": "2026-11-22T06:00:00Z",
        "subject_id": str(UUID(int=2)),
        "project_id": str(UUID(int=1)),
        "topics": ["status", "metrics"],
        "data": {"kind": "a.b"},
    }


def test_what_ends_a_line_cannot_begin_another_field() -> None:
    frame = sse.frame("job.queued\ndata: forged\r\nid: 1", {"text": "one\ntwo\r\n\u2028id: 5"}).decode()

    assert [line.partition(":")[0] for line in frame.split("\n")] == ["event", "data", "", ""]
    assert "\r" not in frame


def test_an_event_that_is_too_large_comes_without_its_data() -> None:
    largest = '{"text": "' + "x" * (sse.LARGEST_DATA - 12) + '"}'
    assert len(largest) == sse.LARGEST_DATA

    assert b'"truncated"' not in sse.encode(row(largest))
    shown = orjson.loads(sse.encode(row(largest + " ")).split(b"\n")[2].removeprefix(b"data: "))

    assert (shown["truncated"], shown["data"], shown["id"]) == (True, {}, "17-4")


@pytest.mark.parametrize(
    "text", ["1-2-3", "-1-2", "a", "1-", "99999999999999999999-1", "9223372036854775808-1", "١-٢", ""]
)
def test_what_is_no_cursor_is_seen(text: str) -> None:
    assert place_of(text) is None


@pytest.mark.parametrize("text, place", [("0", (0, 0)), ("0-0", (0, 0)), ("17-4", (17, 4))])
def test_a_cursor_is_the_id_of_an_event(text: str, place: tuple[int, int]) -> None:
    assert place_of(text) == place


def test_the_opening_and_a_heartbeat_carry_where_to_go_on() -> None:
    assert sse.opening((17, 4)) == b"retry: 2000\nid: 17-4\n\n"
    assert sse.heartbeat((17, 5)) == b": heartbeat\nid: 17-5\n\n"
