"""When schedules are due, against a walk minute by minute along the clock on the wall of any zone there is (T38)."""

import datetime as dt
from collections.abc import Iterator
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

import pytest
from celery.schedules import ParseException, crontab_parser
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.errors import InvalidSchedule
from jobs.instants import EPOCH, Cron, Every, Once, Timetable, Timing, instants

MINUTE, DAY = dt.timedelta(minutes=1), dt.timedelta(days=1)
ZONES = sorted(available_timezones() - {"Factory", "localtime"})
ODD = ("Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns", "Africa/Casablanca",
       "Europe/Dublin", "Antarctica/Troll", "America/Havana", "Asia/Pyongyang", "Europe/Berlin", "UTC")  # fmt: skip


def at(text: str) -> dt.datetime:
    """`2026-03-29 01:00` in UTC."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def cron(text: str, zone: str = "UTC") -> Cron:
    minute, hour, day, month, weekday = text.split()
    return Cron.parse(minute, hour, day, month, weekday, ZoneInfo(zone))


def due(timing: Timing, after: str, until: str) -> list[str]:
    found = instants(Timetable(timing), at(after), at(until))
    return [f"{instant:%Y-%m-%d %H:%M}" for instant in found]


# ------------------------------------------------------------------------------------------------ the walk
def walked(timing: Cron, after: dt.datetime, until: dt.datetime) -> list[dt.datetime]:
    """What is due in (after, until], by looking at the wall once a minute from two days before."""
    found = []
    instant = after - 2 * DAY
    high = wall(instant, timing)
    while instant < until:
        instant += MINUTE
        shown = wall(instant, timing)
        if timing.follows_the_clock:
            hit = fits(timing, shown)
        else:  # a time that was left out is made up for, one that comes again has been
            passed = (shown - high) // MINUTE
            hit = any(fits(timing, shown - n * MINUTE) for n in range(passed))
            high = max(high, shown)
        if hit and instant > after:
            found.append(instant)
    return found


def wall(instant: dt.datetime, timing: Cron) -> dt.datetime:
    return instant.astimezone(timing.zone).replace(tzinfo=None)


def fits(timing: Cron, shown: dt.datetime) -> bool:
    return shown.minute in timing.minutes and shown.hour in timing.hours and timing.names(shown.date())


def jumps(zone: ZoneInfo, year: int) -> list[dt.datetime]:
    """Midnights (UTC) before a day of this year on which the zone's offset changes."""
    midnights = [dt.datetime(year, 1, 1, tzinfo=dt.UTC) + n * DAY for n in range(366)]
    offsets = [midnight.astimezone(zone).utcoffset() for midnight in midnights]
    return [m for m, one, other in zip(midnights, offsets, offsets[1:], strict=False) if one != other]


def numbers(low: int, high: int) -> st.SearchStrategy[frozenset[int]]:
    return st.frozensets(st.integers(low, high), min_size=1, max_size=4) | st.just(frozenset(range(low, high + 1)))


@st.composite
def crons(draw: st.DrawFn) -> Cron:
    zone = draw(st.sampled_from(ODD) | st.sampled_from(ZONES))
    every_day = frozenset(range(1, 32))
    return Cron(
        draw(numbers(0, 59)),
        draw(numbers(0, 23)),
        draw(st.just(every_day) | numbers(1, 31)),
        frozenset(range(1, 13)),
        draw(st.just(frozenset(range(7))) | numbers(0, 6)),
        ZoneInfo(zone),
    )


@st.composite
def windows(draw: st.DrawFn) -> tuple[Cron, dt.datetime, dt.datetime]:
    """A crontab, and some days around a jump of its zone's clock, if there is one."""
    timing = draw(crons())
    year = draw(st.integers(1973, 2037))
    found = jumps(timing.zone, year)
    middle = draw(st.sampled_from(found)) if found else dt.datetime(year, 6, 1, tzinfo=dt.UTC)
    after = middle - draw(st.integers(0, 2 * 1440)) * MINUTE
    return timing, after, after + draw(st.integers(1, 4 * 1440)) * MINUTE


@given(windows())
@example((cron("30 12 * * *", "Pacific/Apia"), at("2011-12-28 00:00"), at("2012-01-02 00:00")))
@example((cron("* * * * *", "Pacific/Apia"), at("2011-12-29 00:00"), at("2012-01-01 00:00")))
@example((cron("15,45 1,2 * * *", "Australia/Lord_Howe"), at("2026-04-03 00:00"), at("2026-04-06 00:00")))
@example((cron("*/10 * * * *", "America/St_Johns"), at("1988-10-29 00:00"), at("1988-10-31 00:00")))
@example((cron("*/20 0,23 * * *", "America/St_Johns"), at("1988-10-29 00:00"), at("1988-10-31 00:00")))
def test_a_crontab_is_due_when_the_wall_says_so(window: tuple[Cron, dt.datetime, dt.datetime]) -> None:
    timing, after, until = window

    assert list(instants(Timetable(timing), after, until)) == walked(timing, after, until)


def test_in_every_zone_a_nightly_job_runs_once_a_night_and_a_frequent_one_goes_on() -> None:
    seen = set()
    for name in ZONES:
        zone = ZoneInfo(name)
        found = [jump for year in (2007, 2011, 2026) for jump in jumps(zone, year)[-1:]]
        for jump in found:
            mark = (jump, jump.astimezone(zone).utcoffset(), (jump + DAY).astimezone(zone).utcoffset())
            if mark in seen:
                continue
            seen.add(mark)
            for text in ("10,40 0-3,23 * * *", "*/15 * * * *"):
                timing = cron(text, name)
                assert list(instants(Timetable(timing), jump, jump + DAY)) == walked(timing, jump, jump + DAY), name
    assert len(seen) > 50


@given(windows())
def test_backwards_is_the_same_the_other_way_round(window: tuple[Cron, dt.datetime, dt.datetime]) -> None:
    timing, after, until = window
    timetable = Timetable(timing)

    assert list(timetable.until(until, after=after))[::-1] == list(instants(timetable, after, until))


@given(windows(), st.integers(0, 4 * 1440))
def test_windows_side_by_side_miss_nothing_and_have_nothing_twice(
    window: tuple[Cron, dt.datetime, dt.datetime], minutes: int
) -> None:
    timing, after, until = window
    middle = min(until, after + minutes * MINUTE)
    timetable = Timetable(timing)

    parts = [*instants(timetable, after, middle), *instants(timetable, middle, until)]

    assert parts == list(instants(timetable, after, until))


# ------------------------------------------------------------------------------------------------ by example
@pytest.mark.parametrize(
    ("timing", "after", "until", "expected"),
    [
        # Berlin, spring: 02:00 becomes 03:00 at 01:00 UTC. Autumn: 03:00 becomes 02:00 at 01:00 UTC.
        (cron("30 2 * * *", "Europe/Berlin"), "2026-03-28 12:00", "2026-03-30 12:00", ["2026-03-29 01:00", "2026-03-30 00:30"]),
        (cron("0,30 2 * * *", "Europe/Berlin"), "2026-03-28 12:00", "2026-03-29 12:00", ["2026-03-29 01:00"]),
        (cron("30 2 * * *", "Europe/Berlin"), "2026-10-24 12:00", "2026-10-26 12:00", ["2026-10-25 00:30", "2026-10-26 01:30"]),
        (cron("0 */2 * * *", "Europe/Berlin"), "2026-10-24 23:00", "2026-10-25 04:00", ["2026-10-25 00:00", "2026-10-25 03:00"]),
        (cron("30 * * * *", "Europe/Berlin"), "2026-03-29 00:00", "2026-03-29 02:00", ["2026-03-29 00:30", "2026-03-29 01:30"]),
        (cron("30 * * * *", "Europe/Berlin"), "2026-10-25 00:00", "2026-10-25 02:00", ["2026-10-25 00:30", "2026-10-25 01:30"]),
        # Half an hour off, all the year.
        (cron("0 9 * * mon-fri", "Asia/Kolkata"), "2026-11-20 00:00", "2026-11-23 12:00", ["2026-11-20 03:30", "2026-11-23 03:30"]),
        # Half an hour of summer time: 02:00 becomes 02:30.
        (cron("15 2 * * *", "Australia/Lord_Howe"), "2026-10-03 00:00", "2026-10-04 00:00", ["2026-10-03 15:30"]),
        # A day that Samoa did not have.
        (cron("0 9 30 12 *", "Pacific/Apia"), "2011-12-01 00:00", "2012-12-01 00:00", ["2011-12-30 10:00"]),
        (cron("0 0 29 2 *"), "2026-01-01 00:00", "2033-01-01 00:00", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        (cron("0 0 13 * fri"), "2026-01-01 00:00", "2026-12-31 00:00", ["2026-02-13 00:00", "2026-03-13 00:00", "2026-11-13 00:00"]),
        (cron("0 0 31 2 *"), "2026-01-01 00:00", "2099-01-01 00:00", []),
        (Once(at("2026-01-01 00:00")), "2025-01-01 00:00", "2026-01-01 00:00", ["2026-01-01 00:00"]),
        (Once(at("2026-01-01 00:00")), "2026-01-01 00:00", "2027-01-01 00:00", []),
        (Every(6 * 3600), "2026-01-01 00:00", "2026-01-01 13:00", ["2026-01-01 06:00", "2026-01-01 12:00"]),
        (Every(86_400), "2026-01-01 00:00", "2026-01-02 00:00", ["2026-01-02 00:00"]),
    ],
)  # fmt: skip
def test_instants(timing: Timing, after: str, until: str, expected: list[str]) -> None:
    assert due(timing, after, until) == expected


@given(st.integers(1, 10**7), st.integers(-(10**10), 10**11), st.integers(0, 50))
def test_intervals_count_from_1970_whoever_asks(seconds: int, moment: int, steps: int) -> None:
    after = EPOCH + dt.timedelta(seconds=moment / 7)
    until = after + dt.timedelta(seconds=seconds * steps)
    timetable = Timetable(Every(seconds))

    found = list(instants(timetable, after, until))

    assert len(found) == steps
    assert all((instant - EPOCH) % dt.timedelta(seconds=seconds) == dt.timedelta(0) for instant in found)
    assert list(timetable.until(until, after=after)) == found[::-1]


def test_a_timetable_has_a_beginning_and_an_end_which_belong_to_it() -> None:
    hourly = Timetable(Every(3600), begins=at("2026-01-01 02:00"), ends=at("2026-01-01 04:00"))
    expected = [at(f"2026-01-01 0{hour}:00") for hour in (2, 3, 4)]

    assert list(hourly.after(at("2025-01-01 00:00"))) == expected
    assert list(hourly.until(at("2027-01-01 00:00"), after=at("2025-01-01 00:00"))) == expected[::-1]


@pytest.mark.parametrize("timing", [cron("* * * * *"), cron("0 0 1 1 *"), Every(86_400 * 366 * 100), Every(1)])
@pytest.mark.parametrize("edge", [dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, tzinfo=dt.UTC)])
def test_the_ends_of_the_calendar_are_no_error(timing: Timing, edge: dt.datetime) -> None:
    assert len(list(islice(timing.after(edge), 3))) in {0, 3}
    assert len(list(islice(timing.until(edge), 3))) in {0, 3}


@pytest.mark.parametrize("seconds", [0, -1, 10**12])
def test_an_interval_is_a_second_to_a_hundred_years(seconds: int) -> None:
    with pytest.raises(InvalidSchedule):
        Every(seconds)


# ------------------------------------------------------------------------------------------------ fields
FIELDS = ((60, 0), (24, 0), (31, 1), (12, 1), (7, 0))


def parts(maximum: int, low: int) -> Iterator[st.SearchStrategy[str]]:
    """Parts of a field, most of which fit."""
    number = st.integers(low - 1, low + maximum).map(str) | st.sampled_from(["mon", "FRI", "january", "x"])
    steps = st.sampled_from(["", "/1", "/2", "/7", "/0", "/", "/x"])
    yield st.builds("{}{}".format, st.just("*"), steps)
    yield number
    yield st.builds("{}-{}{}".format, number, number, steps)


@pytest.mark.parametrize("index", range(5))
@given(data=st.data())
def test_fields_mean_what_they_mean_to_celery(index: int, data: st.DataObject) -> None:
    maximum, low = FIELDS[index]
    text = ",".join(data.draw(st.lists(st.one_of(*parts(maximum, low)), min_size=1, max_size=3)))
    try:
        expected = crontab_parser(maximum, low).parse(text)
    except (ParseException, ValueError):
        expected = None
    fields = ["*"] * 5
    fields[index] = text

    try:
        parsed = cron(" ".join(fields))
        found = (parsed.minutes, parsed.hours, parsed.days, parsed.months, parsed.weekdays)[index]
    except InvalidSchedule:
        found = None

    # Celery has no 7 for Sunday, though its own form offers it; and it reads a range without its second minus sign.
    if not (index == 4 and "7" in text) and "--" not in text:
        assert found == expected


@pytest.mark.parametrize(("text", "days"), [("7", {0}), ("5-7", {5, 6, 0}), ("6-1", {6, 0, 1}), ("0,7", {0})])
def test_sunday_is_0_or_7(text: str, days: set[int]) -> None:
    assert cron(f"0 0 * * {text}").weekdays == days


@pytest.mark.parametrize("text", ["", ",", "1,,2", "-1", "60", "1-", "*/0", "5/10", "1-5x-2", "١", "1" * 5000])
def test_a_field_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidSchedule, match="minute"):
        Cron.parse(text, "*", "*", "*", "*", ZoneInfo("UTC"))
