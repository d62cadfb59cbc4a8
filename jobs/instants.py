"""Which instants a schedule names: pure functions of what it says and of two moments. No clock and no rows.

Instants are times in UTC. Intervals count from 1970-01-01T00:00Z, so that whoever asks gets the same ones. A crontab is
read by the clock on the wall of its zone, and that clock jumps:

- A crontab whose hour field names every hour follows the clock as it goes: what a jump leaves out does not happen,
  and what a repeated hour shows twice happens twice. A job every five minutes stays one every five minutes.
- Any other names certain hours of the day. A time that a jump leaves out happens once, at the first instant after the
  jump; a time that comes twice happens the first time only. A nightly job runs once a night.
"""

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import Self
from zoneinfo import ZoneInfo

from jobs.errors import InvalidSchedule

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
HORIZON_DAYS = 41 * 366
"""How far a crontab is searched for its next day: the 29th of February is a given weekday every 28 or 40 years."""

_HOUR, _DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
_NEIGHBOURS = tuple(dt.timedelta(days=n) for n in range(-2, 3))
"""Local days that may have instants within a day of UTC: zones are up to 16 hours away, jumps up to 24 hours wide."""
_FIRST_DAY, _LAST_DAY = dt.date(200, 1, 1), dt.date(9800, 12, 31)
LONGEST_SECONDS = 100 * 366 * 86_400

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES = {name: number for number, name in enumerate(_MONTHS, 1)} | {name: n for n, name in enumerate(_WEEKDAYS)}
_PART = re.compile(r"(?:(?P<star>\*)|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\w+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Every:
    """Every so many seconds, counted from 1970."""

    seconds: int

    def __post_init__(self) -> None:
        if self.seconds < 1:
            message = "An interval is one second at least."
            raise InvalidSchedule(message)
        if self.seconds > LONGEST_SECONDS:
            message = "An interval is a hundred years at most."
            raise InvalidSchedule(message)

    def after(self, moment: dt.datetime) -> Iterator[dt.datetime]:
        """Instants later than a moment, in their order."""
        step = dt.timedelta(seconds=self.seconds)
        if moment.date() > _LAST_DAY:
            return iter(())
        return _walk(EPOCH + ((moment - EPOCH) // step + 1) * step, step)

    def until(self, moment: dt.datetime) -> Iterator[dt.datetime]:
        """Instants up to a moment, the latest first."""
        step = dt.timedelta(seconds=self.seconds)
        if moment.date() < _FIRST_DAY:
            return iter(())
        return _walk(EPOCH + ((moment - EPOCH) // step) * step, -step)


@dataclass(frozen=True, slots=True)
class Once:
    """At one instant."""

    at: dt.datetime

    def after(self, moment: dt.datetime) -> Iterator[dt.datetime]:
        """The instant, if it is later than a moment."""
        return iter([self.at] if self.at > moment else [])

    def until(self, moment: dt.datetime) -> Iterator[dt.datetime]:
        """The instant, if it is not later than a moment."""
        return iter([self.at] if self.at <= moment else [])


@dataclass(frozen=True, slots=True)
class Cron:
    """Minutes, hours and days by the clock of a zone. A day has to fit all three: month, day of month, day of week."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday
    zone: ZoneInfo

    @classmethod
    def parse(cls, minute: str, hour: str, day: str, month: str, weekday: str, zone: ZoneInfo) -> Self:  # noqa: PLR0917 - the five fields, in their known order
        """The five fields as crontab(5) and Celery write them. Raises `InvalidSchedule`."""
        return cls(
            _field("minute", minute, 0, 59),
            _field("hour", hour, 0, 23),
            _field("day of month", day, 1, 31),
            _field("month", month, 1, 12),
            frozenset(number % 7 for number in _field("day of week", weekday, 0, 6, highest=7)),
            zone,
        )

    @property
    def follows_the_clock(self) -> bool:
        """Whether every hour is named, so that jumps of the clock are no affair of this crontab."""
        return len(self.hours) == 24  # noqa: PLR2004 - hours of a day

    def after(self, moment: dt.datetime) -> Iterator[dt.datetime]:
        """Instants later than a moment, in their order, as far as the horizon."""
        first = moment.astimezone(dt.UTC).date()
        last = min(_LAST_DAY, first + HORIZON_DAYS * _DAY) if first < _LAST_DAY else first
        return (at for day in _days(first, last) for at in self._of_utc_day(day) if at > moment)

    def until(self, moment: dt.datetime) -> Iterator[dt.datetime]:
        """Instants up to a moment, the latest first, as far back as the horizon."""
        first = moment.astimezone(dt.UTC).date()
        last = max(_FIRST_DAY, first - HORIZON_DAYS * _DAY) if first > _FIRST_DAY else first
        return (at for day in _days(first, last) for at in reversed(self._of_utc_day(day)) if at <= moment)

    def _of_utc_day(self, day: dt.date) -> list[dt.datetime]:
        if not any(self.names(day + away) for away in _NEIGHBOURS):
            return []
        begin = dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC)
        end = begin + _DAY
        found = {at for away in _NEIGHBOURS for at in _of_local_day(self, day + away) if begin <= at < end}
        return sorted(found)

    def names(self, day: dt.date) -> bool:
        """Whether it has instants on a local day."""
        return day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays


Timing = Every | Once | Cron


@dataclass(frozen=True, slots=True)
class Timetable:
    """When a schedule is due: its timing, from `begins` to `ends` (both belong to it; None: no such bound)."""

    timing: Timing
    begins: dt.datetime | None = None
    ends: dt.datetime | None = None

    def after(self, moment: dt.datetime) -> Iterator[dt.datetime]:
        """Instants later than a moment, in their order."""
        if self.begins is not None and self.begins > moment:
            moment = self.begins - dt.timedelta(microseconds=1)
        found = self.timing.after(moment)
        return found if self.ends is None else takewhile(_not_after(self.ends), found)

    def until(self, moment: dt.datetime, *, after: dt.datetime) -> Iterator[dt.datetime]:
        """Instants later than `after` and up to a moment, the latest first."""
        found = self.timing.until(moment if self.ends is None else min(moment, self.ends))
        begins = self.begins
        return takewhile(lambda at: at > after and (begins is None or at >= begins), found)


def instants(timetable: Timetable, after: dt.datetime, until: dt.datetime) -> Iterator[dt.datetime]:
    """The due instants later than `after` and not later than `until`, in their order."""
    return takewhile(_not_after(until), timetable.after(after))


def _not_after(end: dt.datetime) -> Callable[[dt.datetime], bool]:
    return lambda at: at <= end


# ---------------------------------------------------------------------------------------------- a crontab's fields
def _field(name: str, text: str, low: int, high: int, *, highest: int | None = None) -> frozenset[int]:
    """The numbers of one field: `*`, `7`, `mon-fri`, `22-3`, `*/5`, `10-40/10`, or several with commas.

    `highest`: a number that is allowed beside those from `low` to `high`.
    """
    found: set[int] = set()
    for part in text.replace(" ", "").split(","):
        match = _PART.fullmatch(part)
        try:
            found.update(_numbers(match, low, high, high if highest is None else highest))
        except ValueError:
            message = f"The field {name} of a crontab does not take {part[:40]!r}."
            raise InvalidSchedule(message) from None
    return frozenset(found)


def _numbers(match: re.Match[str] | None, low: int, high: int, highest: int) -> Iterable[int]:
    if match is None:
        raise ValueError
    step = match["step"]
    if match["star"]:
        numbers = list(range(low, high + 1))
    elif match["high"] is None:
        if step is not None:
            raise ValueError  # Celery does not know 5/10, and others do not agree on what it means
        return [_number(match["low"], low, highest)]
    else:
        first, last = _number(match["low"], low, highest), _number(match["high"], low, highest)
        around = [*range(first, high + 1), *range(low, last + 1)]
        numbers = around if last < first else list(range(first, last + 1))
    size = 1 if step is None else int(step)
    if size < 1:
        raise ValueError
    return numbers[::size]


def _number(text: str, low: int, high: int) -> int:
    number = int(text) if text.isdigit() else _NAMES.get(text[:3].lower(), -1)
    if not low <= number <= high:
        raise ValueError
    return number


# ---------------------------------------------------------------------------------------------- the clock on the wall
@lru_cache(maxsize=128)
def _of_local_day(cron: Cron, day: dt.date) -> tuple[dt.datetime, ...]:
    """The instants that a local day has, in no order; the same one may come twice."""
    if not cron.names(day):
        return ()
    found: list[dt.datetime] = []
    midnight = dt.datetime(day.year, day.month, day.day)  # noqa: DTZ001 - the time that a wall shows
    for hour in cron.hours:
        begin = midnight + hour * _HOUR
        offset = _steady(begin, cron.zone)
        for minute in cron.minutes:
            local = begin + dt.timedelta(minutes=minute)
            if offset is not None:
                found.append((local - offset).replace(tzinfo=dt.UTC))
            else:
                found += _instants_at(local, cron.zone, follow=cron.follows_the_clock)
    return tuple(found)


def _steady(begin: dt.datetime, zone: ZoneInfo) -> dt.timedelta | None:
    """The offset of a local hour, if the clock does not jump in it."""
    ends = (begin, begin + dt.timedelta(minutes=59))
    offsets = {_offset(end, zone, fold) for end in ends for fold in (0, 1)}
    return offsets.pop() if len(offsets) == 1 else None


def _offset(local: dt.datetime, zone: ZoneInfo, fold: int) -> dt.timedelta:
    offset = local.replace(tzinfo=zone, fold=fold).utcoffset()
    assert offset is not None  # noqa: S101 - a zone has one at any time
    return offset


def _instants_at(local: dt.datetime, zone: ZoneInfo, *, follow: bool) -> list[dt.datetime]:
    """The instants at which a wall shows a time: one, or two, or none; or what happens instead (see above)."""
    first, second = _offset(local, zone, 0), _offset(local, zone, 1)
    if first >= second:  # two, if the offsets differ
        offsets = {first, second} if follow else {first}
        return [(local - offset).replace(tzinfo=dt.UTC) for offset in offsets]
    return [] if follow else [_jump(local, zone, first, second)]


def _jump(local: dt.datetime, zone: ZoneInfo, before: dt.timedelta, then: dt.timedelta) -> dt.datetime:
    """The instant at which the clock jumped over a local time, by halves: a second's search in seventeen steps."""
    low, high = (local - then).replace(tzinfo=dt.UTC), (local - before).replace(tzinfo=dt.UTC)
    while high - low > dt.timedelta(seconds=1):
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


def _walk(start: dt.datetime, step: dt.timedelta) -> Iterator[dt.datetime]:
    at = start
    while _FIRST_DAY < at.date() < _LAST_DAY:
        yield at
        at += step


def _days(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    step = _DAY if last >= first else -_DAY
    day = first
    while _FIRST_DAY <= day <= _LAST_DAY:
        yield day
        if day == last:
            return
        day += step
