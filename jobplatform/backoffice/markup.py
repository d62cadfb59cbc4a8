"""Text of pages: moments, durations, badges and JSON. Every function escapes what it is given."""

import datetime as dt
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

LONGEST_SHOWN = 64 * 1024  # characters of one JSON value on a page

NOTHING = "–"

# What would be obeyed instead of shown: control characters, and the marks that reverse the direction of text.
_UNSEEN = {
    code: f"\\u{code:04x}"
    for code in (*range(9), 11, 12, *range(14, 32), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A JSON value as text. `cut`: how many characters are left out."""

    text: str
    cut: int = 0


def visible(text: str) -> str:
    """The text with control characters and direction marks written out."""
    return text.translate(_UNSEEN)


_CODE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+")


def spoken(text: str) -> str:
    """A code as words, `too_late` as "too late"; any other text as it is, visibly."""
    return text.replace("_", " ") if _CODE.fullmatch(text) else visible(text)


def facts(value: Any, longest: int = 400) -> list[tuple[str, str]]:
    """A JSON object as names and values for people, in one level: what is nested has the names on the way to it."""
    found: list[tuple[str, str]] = []
    for name, inner in value.items() if isinstance(value, dict) else ():
        if isinstance(inner, dict) and inner:
            found += [(f"{spoken(name)}, {below}", text) for below, text in facts(inner, longest)]
        elif isinstance(inner, str):
            found.append((spoken(name), spoken(inner)[:longest]))
        else:
            found.append((spoken(name), brief(inner, longest) or NOTHING))
    return found


def pretty(value: Any, limit: int = LONGEST_SHOWN) -> Shown | None:
    """A JSON value, indented; None for nothing. The template escapes it."""
    if value is None:
        return None
    text = visible(json.dumps(value, indent=2, ensure_ascii=False, default=str))
    return Shown(text[:limit], max(0, len(text) - limit))


def brief(value: Any, limit: int = 120) -> str:
    """A JSON value in one line, cut to `limit` characters."""
    if value is None or value in ({}, []):
        return ""
    text = visible(json.dumps(value, ensure_ascii=False, default=str, separators=(", ", ": ")))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


@dataclass(frozen=True, slots=True)
class Look:
    """How a word is shown: a tone of the style sheet, and a sign that says the same without colour."""

    tone: str
    icon: str


def badge(text: str, look: Look) -> SafeString:
    """A word with its sign. The sign repeats the word for the eye, so screen readers skip it."""
    return format_html(
        '<span class="jp-badge jp-{}"><span class="material-symbols-outlined" aria-hidden="true">{}</span>{}</span>',
        look.tone,
        look.icon,
        text.replace("_", " "),
    )


def code(text: Any) -> SafeString:
    """A short piece of fixed-width text."""
    return format_html('<code class="jp-code">{}</code>', visible(str(text)))


def moment(at: dt.datetime | None, *, now: dt.datetime | None = None) -> SafeString:
    """A moment as its distance from now, with the exact time (UTC) on hover."""
    if at is None:
        return format_html("{}", NOTHING)
    exact = at.astimezone(dt.UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        exact.isoformat(),
        exact.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
        distance(exact, now or timezone.now()),
    )


def moment_and_date(at: dt.datetime, *, now: dt.datetime | None = None) -> SafeString:
    """A moment as date and time (UTC), with its distance from now."""
    exact = at.astimezone(dt.UTC)
    return format_html(
        '<time datetime="{}">{}</time> <small class="jp-soft">{}</small>',
        exact.isoformat(),
        exact.strftime("%Y-%m-%d %H:%M:%S"),
        distance(exact, now or timezone.now()),
    )


def distance(at: dt.datetime, now: dt.datetime) -> str:
    """`in 5 s`, `3 min ago`, and the date from a week on."""
    seconds = (at - now).total_seconds()
    if abs(seconds) >= 7 * 86_400:  # a week
        return at.strftime("%Y-%m-%d %H:%M")
    if abs(seconds) < 1:
        return "now"
    return f"in {rough(seconds)}" if seconds > 0 else f"{rough(-seconds)} ago"


def rough(seconds: float) -> str:
    """A duration in one unit: `45 s`, `3 min`, `5 h`, `2 d`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def duration(seconds: float | None) -> str:
    """A duration for people: `< 0.1 ms`, `4.2 ms`, `1.25 s`, `3 min 07 s`, `5 h 02 min`."""
    if seconds is None:
        return NOTHING
    seconds = max(0.0, seconds)
    for size, text in (
        (0.00005, "< 0.1 ms"),
        (0.0995, f"{seconds * 1000:.1f} ms"),
        (0.9995, f"{seconds * 1000:.0f} ms"),
        (59.995, f"{seconds:.2f} s"),
        (3_600, f"{int(seconds // 60)} min {int(seconds % 60):02d} s"),
        (86_400, f"{int(seconds // 3_600)} h {int(seconds % 3_600 // 60):02d} min"),
    ):
        if seconds < size:
            return text
    return f"{int(seconds // 86_400)} d {int(seconds % 86_400 // 3_600):02d} h"


def progress_bar(progress: Any) -> SafeString:
    """A bar for `{done, total, note}`; nothing for anything else."""
    share = share_of(progress)
    if share is None:
        return SafeString("")
    return format_html(
        '<span class="jp-progress"><progress max="100" value="{}" aria-label="progress">{} %</progress>'
        "<span>{} %</span></span>",
        share,
        share,
        share,
    )


def share_of(progress: Any) -> int | None:
    """Percent of a progress record, 0 to 100; None when it tells none."""
    if not isinstance(progress, dict):
        return None
    done, total = progress.get("done"), progress.get("total")
    if not isinstance(done, int | float) or not isinstance(total, int | float):
        return None
    if not math.isfinite(done) or not math.isfinite(total) or total <= 0:
        return None
    return max(0, min(100, round(100 * done / total)))


def words(items: Any, limit: int = 4) -> SafeString:
    """The first words of a list, each in a box, and how many more there are."""
    listed = list(items or ())
    more = len(listed) - limit
    boxes = format_html_join(" ", "{}", ((code(item),) for item in listed[:limit]))
    return format_html("{} <small>+{}</small>", boxes, more) if more > 0 else boxes
