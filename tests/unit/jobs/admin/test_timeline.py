"""The timeline of a job: spans from its events and attempts, and their place on the drawing."""

import datetime as dt
from dataclasses import dataclass

from jobs.admin import timeline
from jobs.admin.timeline import LISTED_FIRST, LISTED_LAST, Span, draw, spans

START = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)


def at(seconds: float) -> dt.datetime:
    return START + dt.timedelta(seconds=seconds)


@dataclass
class Event:
    type: str
    occurred_at: dt.datetime


@dataclass
class Attempt:
    claim_no: int
    attempt: int
    outcome: str
    started_at: dt.datetime
    ended_at: dt.datetime
    stage: str = "process"


def events(*named: tuple[str, float]) -> list[Event]:
    return [Event(f"job.{name}", at(seconds)) for name, seconds in named]


def told(found: list[Span]) -> list[tuple[str, str, float]]:
    return [(span.title, span.tone, round(span.seconds, 3)) for span in found]


def test_a_job_that_was_done_at_once_waited_and_ran() -> None:
    found = spans(events(("queued", 0), ("processed", 3)), [Attempt(1, 1, "done", at(1), at(3))], now=at(60))

    assert told(found) == [("Queued", "wait", 1.0), ("Attempt 1", "good", 2.0)]


def test_a_retry_shows_the_wait_between_its_attempts() -> None:
    tried = [Attempt(1, 1, "retried", at(1), at(2)), Attempt(2, 2, "done", at(7), at(8))]

    found = spans(events(("queued", 0), ("retrying", 2), ("processed", 8)), tried, now=at(60))

    assert told(found) == [
        ("Queued", "wait", 1.0),
        ("Attempt 1", "ask", 1.0),
        ("Waits for the next attempt", "wait", 5.0),
        ("Attempt 2", "good", 1.0),
    ]


def test_a_dead_letter_that_was_retried_shows_how_long_it_lay() -> None:
    tried = [Attempt(1, 1, "failed", at(1), at(2)), Attempt(2, 1, "done", at(103), at(104))]

    found = spans(events(("queued", 0), ("failed", 2), ("redriven", 102), ("processed", 104)), tried, now=at(500))

    assert told(found)[2:] == [
        ("Dead letter", "bad", 100.0),
        ("Queued again, retried by hand", "wait", 1.0),
        ("Attempt 1", "good", 1.0),
    ]


def test_the_way_to_the_chain_lasts_until_the_result_is_final() -> None:
    tried = [Attempt(1, 1, "done", at(1), at(2))]

    waiting = spans(events(("queued", 0), ("processed", 2)), tried, now=at(9), confirming=True)
    over = spans(events(("queued", 0), ("processed", 2), ("confirmed", 14)), tried, now=at(60))
    again = spans(
        events(("queued", 0), ("processed", 2), ("confirmed", 14), ("retracted", 20)),
        tried,
        now=at(25),
        confirming=True,
    )

    assert told(waiting)[2:] == [("On its way to the chain", "run", 7.0)]
    assert [span.open for span in waiting] == [False, False, True]
    assert told(over)[2:] == [("On its way to the chain", "run", 12.0)]
    assert told(again)[2:] == [("On its way to the chain", "run", 12.0), ("On its way to the chain again", "run", 5.0)]
    drawing = draw(over)
    assert drawing is not None
    assert [track.title for track in drawing.tracks][-1] == "Chain"


def test_a_running_attempt_is_open_from_its_event_on() -> None:
    found = spans(events(("queued", 0), ("processing", 2)), [], now=at(12), running=1)

    assert told(found) == [("Queued", "wait", 2.0), ("Attempt 1", "run", 10.0)]
    assert [span.open for span in found] == [False, True]


def test_a_waiting_job_waits_until_now() -> None:
    found = spans(events(("queued", 0)), [], now=at(9))

    assert told(found) == [("Queued", "wait", 9.0)]
    assert found[0].open


def test_a_blocked_job_stands_open() -> None:
    found = spans(events(("queued", 0), ("blocked", 2)), [Attempt(1, 1, "blocked", at(1), at(2))], now=at(62))

    assert told(found)[-1] == ("Blocked, needs a person", "ask", 60.0)


def test_an_ended_job_does_not_grow() -> None:
    found = spans(events(("queued", 0), ("cancelled", 5)), [], now=at(1000))

    assert told(found) == [("Queued", "wait", 5.0)]


def test_an_event_that_this_version_does_not_know_is_a_wait() -> None:
    found = spans(events(("queued", 0), ("teleported", 1), ("processed", 3)), [], now=at(9))

    assert told(found) == [("Queued", "wait", 1.0), ("Waits", "wait", 2.0)]


def test_attempts_survive_a_log_that_does_not_go_back_that_far() -> None:
    assert spans([], [Attempt(1, 1, "done", at(0), at(1))], now=at(9)) == []


def test_the_drawing_places_bars_by_their_share_of_the_whole() -> None:
    drawing = draw([Span("a", "wait", at(0), at(5)), Span("b", "run", at(5), at(20))])

    assert drawing is not None
    assert [(round(bar.left), round(bar.width)) for bar in drawing.bars] == [(0, 25), (25, 75)]
    assert drawing.scale == ("0", "10.00 s", "20.00 s")


def test_nothing_is_not_drawn() -> None:
    assert draw([]) is None


def test_a_moment_can_be_drawn() -> None:
    drawing = draw([Span("a", "wait", at(0), at(0))])

    assert drawing is not None
    assert (drawing.bars[0].left, drawing.bars[0].width) == (0, 0)


def test_what_a_job_did_stands_on_tracks() -> None:
    tried = [Attempt(1, 1, "retried", at(1), at(2)), Attempt(2, 2, "blocked", at(7), at(8))]
    found = spans(events(("queued", 0), ("retrying", 2), ("blocked", 8)), tried, now=at(20))

    drawing = draw(found)

    assert drawing is not None
    assert [(track.title, [block.look for block in track.blocks]) for track in drawing.tracks] == [
        ("Attempts", ["retried", "stopped"]),
        ("Waits", ["queued", "backoff"]),
        ("Stands", ["blocked"]),
    ]
    assert [(share.title, share.number, share.seconds) for share in drawing.shares] == [
        ("Attempt retried", 1, 1.0),
        ("Attempt stopped", 1, 1.0),
        ("Queued", 1, 1.0),
        ("Backoff", 1, 5.0),
        ("Blocked", 1, 12.0),
    ]
    backoff = drawing.tracks[1].blocks[1]
    assert (backoff.left, backoff.width) == (10.0, 25.0)


def test_several_stages_have_a_track_of_their_own() -> None:
    tried = [Attempt(1, 1, "done", at(1), at(2)), Attempt(2, 1, "done", at(4), at(5), stage="confirm")]

    drawing = draw(spans(events(("queued", 0), ("processed", 2), ("confirmed", 5)), tried, now=at(20)))

    assert drawing is not None
    assert drawing.tracks[0].title == "Stage"
    assert [block.text for block in drawing.tracks[0].blocks] == ["process", "confirm"]


def many(attempts: int) -> list[Span]:
    turns = events(
        ("queued", 0), *(("retrying", 10 * n + 2) for n in range(attempts - 1)), ("failed", 10 * attempts - 8)
    )
    tried = [
        Attempt(n + 1, n + 1, "failed" if n + 1 == attempts else "retried", at(10 * n + 1), at(10 * n + 2))
        for n in range(attempts)
    ]
    return spans(turns, tried, now=at(10 * attempts))


def test_a_life_of_two_hundred_attempts_is_drawn_whole_and_listed_from_both_ends() -> None:
    found = many(200)

    drawing = draw(found)

    assert drawing is not None
    assert len(found) == 400
    assert (len(drawing.first), len(drawing.last)) == (LISTED_FIRST, LISTED_LAST)
    assert drawing.gap is not None
    assert drawing.gap.number == 400 - LISTED_FIRST - LISTED_LAST
    assert drawing.gap.text.startswith("180 attempts of 3 min 00 s in all, 180 waits")
    attempts = next(track for track in drawing.tracks if track.title == "Attempts")
    assert len(attempts.blocks) <= 200
    assert attempts.blocks[-1].look == "failed"
    assert all(0 <= block.left <= block.left + block.width <= 100.001 for block in attempts.blocks)
    assert sum(share.number for share in drawing.shares) == 400


def test_neighbours_too_narrow_to_tell_apart_are_one_block_that_shows_the_gravest() -> None:
    tried = [Attempt(n, n, "failed" if n == 3 else "retried", at(n / 100), at(n / 100 + 0.005)) for n in range(1, 6)]
    turns = events(("queued", 0), *(("retrying", run.ended_at.timestamp() - START.timestamp()) for run in tried))

    drawing = draw(spans(turns, tried, now=at(1000)))

    assert drawing is not None
    blocks = drawing.tracks[0].blocks
    assert [(block.look, block.text.split(":")[0]) for block in blocks] == [("failed", "5 together")]


def test_a_place_is_written_as_style_sheets_want_it() -> None:
    bar = timeline.Bar(Span("a", "wait", at(0), at(1)), 12.3456, 50.0)

    assert bar.style == "left: min(12.346%, 100% - 3px); width: max(50.000%, 3px)"
