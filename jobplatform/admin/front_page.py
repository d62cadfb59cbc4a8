"""The front page: what runs, waits, is late, fails or stands still; how it went; who works; what needs a person.

Each number is counted by `jobs/overview.py`, each chart drawn from `jobs/rollups.py`; both are bounded, so the page
costs the same with millions of jobs. Its script asks for it anew every five seconds (`Part: live`), and then gets
the content without the frame around it.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from events import log
from jobplatform.admin import drawings
from jobplatform.admin.drawings import WINDOWS, Window
from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.filters import uuid_of
from jobplatform.backoffice.markup import Look, badge
from jobs import overview, rollups
from jobs.admin import looks
from jobs.admin.interventions import OPEN
from jobs.admin.workers import LOOKS, state_of
from jobs.models import Worker
from jobs.overview import Standing, Tally
from jobs.rollups import Measure, Sums
from jobs.states import Status
from reconciliation import selectors
from reconciliation.admin import alarms, letters

PART = "live"
"""The value of the header `Part` with which the script asks for the content alone."""
COUNTER = "rollups"
MOST_QUESTIONS = 5
MOST_TROUBLES = 8
MOST_PAUSES = 5
MOST_CAUSES = 5
MOST_ALARMS = 8
MOST_ROWS = 12
"""Rows of a table by kind, queue or project; the others are one row."""
MOST_WORKERS = 20
BEHIND_SECONDS = 30.0
"""Charts that are further behind than this say so."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number of a table: its text, and the list that it counts. Nothing leads nowhere."""

    text: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: its name, and its numbers in the order of the columns."""

    name: str | SafeString
    numbers: Iterable[Number]


@dataclass(frozen=True, slots=True)
class Table:
    """Jobs by something: columns, rows, and in how many further rows there is something."""

    key: str
    title: str
    columns: Iterable[str]
    rows: Iterable[Row]


@dataclass(frozen=True, slots=True)
class Card:
    """A number with its sign, its word and a line below."""

    key: str
    title: str
    number: str
    note: str
    look: Look
    link: str
    quiet: bool


@dataclass(slots=True)
class Asked:
    """What the address asks for: a window, and perhaps a project."""

    window: Window
    project: UUID | None
    projects: Mapping[UUID, str]
    now: dt.datetime = field(default_factory=timezone.now)

    def address(self, **changes: str) -> str:
        """The address of the page with something else asked for."""
        given = {"window": self.window.key, "project": str(self.project or "")} | changes
        return f"?{urlencode({name: value for name, value in given.items() if value})}"


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Django's context of the index page, with ours for those who may see jobs."""
    alone = request.headers.get("Part") == PART
    context |= {"frame": "jobplatform/part.html" if alone else "admin/base.html"}
    if not request.user.has_perm("jobs.view_job"):
        return context
    asked = _asked(request)
    standing = overview.now(asked.project)
    slots, by_queue = overview.slots()
    lag = log.lag()
    found = rollups.series(
        asked.project,
        seconds=asked.window.chart_rows,
        since=asked.window.since(asked.now),
        bin_seconds=asked.window.bin_seconds,
    )
    return context | {
        "asked": asked,
        "windows": [(window, asked.address(window=window.key)) for window in WINDOWS.values()],
        "choices": sorted(asked.projects.items(), key=lambda item: item[1]),
        "cards": _cards(standing.total, slots, found, asked),
        "others": _others(asked),
        "tables": list(_tables(standing, asked)),
        "charts": drawings.draw(found, asked.window, asked.now, everyone=asked.project is None),
        "looks": drawings.LOOKS,
        "behind": markup.duration(behind) if (behind := lag.get(COUNTER, (0.0, 0))[0]) > BEHIND_SECONDS else "",
        "questions": _questions(asked),
        "troubles": _troubles(asked),
        "pauses": _pauses(asked),
        "causes": letters.latest(asked.project, asked.projects, MOST_CAUSES)
        if request.user.has_perm("reconciliation.view_redrive")
        else [],
        "alarms": _alarms() if request.user.has_perm("reconciliation.view_alarm") else [],
        "may_redrive": request.user.has_perm(letters.PERMISSION),
        "queues": by_queue,
        "workers": _workers(),
        "consumers": [
            {"name": name, "lag": markup.duration(seconds) if seconds else "up to date", "failures": failures}
            for name, (seconds, failures) in sorted(lag.items())
        ],
    }


def _alarms() -> list[tuple[str, SafeString, str, str, SafeString]]:
    """What fires now: the address of its page, its severity, its rule, what it is about, since when."""
    return [
        (
            reverse("admin:reconciliation_alarm_change", args=(row.id,)),
            badge(row.severity, alarms.LOOKS[row.severity]),
            row.name,
            f"{row.subject} {alarms.measured(row.measure, row.value)}".strip(),
            markup.moment(row.fired_at),
        )
        for row in selectors.firing(MOST_ALARMS)
    ]


def _asked(request: HttpRequest) -> Asked:
    """What the address says; what makes no sense in it is left out."""
    names = subjects.projects()
    project = uuid_of(request.GET.get("project", ""))
    window = WINDOWS.get(request.GET.get("window", ""), WINDOWS["1h"])
    return Asked(window, project if project in names else None, names)


def jobs_where(asked: Asked, **filters: str) -> str:
    """The address of the list of jobs with these filters, within the project that is asked for."""
    if asked.project and "project" not in filters:
        filters["project"] = str(asked.project)
    return f"{reverse('admin:jobs_job_changelist')}?{urlencode(filters)}"


# ------------------------------------------------------------------------------------------------ cards
PLACES: tuple[tuple[str, str, Look, Mapping[str, str]], ...] = (
    ("running", "Running", looks.STATUS[Status.PROCESSING], {"status": Status.PROCESSING.value}),
    ("queued", "Queued", looks.STATUS[Status.QUEUED], {"status": Status.QUEUED.value}),
    ("late", "Late", Look("ask", "alarm"), {"late": "yes"}),
    ("failed", "Failing", looks.STATUS[Status.FAILED], {"status": Status.FAILED.value}),
    ("blocked", "Blocked", looks.STATUS[Status.BLOCKED], {"status": Status.BLOCKED.value}),
)
"""The places where jobs stand: attribute of a standing, word, look, and the filters of the list that it counts."""


def _cards(total: Standing, slots: overview.Slots, found: Mapping[int, Sums], asked: Asked) -> list[Card]:
    seen = rollups.together(found.values())
    notes = {
        "running": f"{seen.count(Measure.PROCESSED):,} processed in {asked.window.title}",
        "queued": _note_on_queued(total),
        "late": f"oldest due for {markup.rough(total.oldest.total_seconds())}" if total.due else "nothing is due",
        "failed": f"{seen.count(Measure.RETRYING):,} retries in {asked.window.title}",
        "blocked": "need a person" if total.blocked else "no job needs a person",
    }
    cards = []
    for name, title, look, filters in PLACES:
        tally: Tally = getattr(total, name)
        cards.append(Card(name, title, str(tally), notes[name], look, jobs_where(asked, **filters), not tally))
    stale = f", {slots.stale} fell silent" if slots.stale else ""
    look = LOOKS["live"] if slots.live else LOOKS["stale"]
    address = f"{reverse('admin:jobs_worker_changelist')}?state=live"
    cards.append(Card("workers", "Workers", f"{slots.live:,}", f"{slots.busy:,} busy{stale}", look, address, False))  # noqa: FBT003 - a field
    return cards


def _note_on_queued(total: Standing) -> str:
    later = total.queued.number - total.due.number - total.behind.number
    parts = [f"{total.due} due"]
    if later > 0 and not total.queued.more:
        parts.append(f"{later:,} later")
    if total.behind:
        parts.append(f"{total.behind} held")
    return ", ".join(parts)


def _others(asked: Asked) -> list[tuple[str, Tally, str, Look]]:
    """The other statuses in which jobs stand: word, number, address, look."""
    return [
        (status.replace("_", " "), tally, jobs_where(asked, status=status), looks.STATUS[status])
        for status, tally in overview.mentioned(asked.project).items()
        if tally
    ]


# ------------------------------------------------------------------------------------------------ tables
def _tables(standing: overview.Overview, asked: Asked) -> Iterable[Table]:
    seconds, since = asked.window.table_rows, asked.window.since(asked.now)
    kinds = rollups.by_kind(asked.project, seconds=seconds, since=since)
    queues: dict[str, list[Sums]] = {}
    for kind, sums in kinds.items():
        queues.setdefault(overview.queue_of(kind), []).append(sums)
    by_queue = {queue: rollups.together(parts) for queue, parts in queues.items()}
    yield _table("kind", standing.by_kind(), kinds, asked, {})
    yield _table("queue", standing.by_queue(), by_queue, asked, {})
    if asked.project is None:
        projects = rollups.by_project(list(asked.projects), seconds=seconds, since=since)
        yield _table("project", standing.by_project(), projects, asked, asked.projects)


def _table(
    by: str, standing: Mapping[Any, Standing], happened: Mapping[Any, Sums], asked: Asked, names: Mapping[Any, str]
) -> Table:
    """The rows with most trouble first, then those with most work; what is beyond `MOST_ROWS` as one row."""
    nothing, none = Standing(), Sums({}, {})
    timed = by != "project"

    def weight(one: Any) -> tuple[int, int, int, str]:
        stands = standing.get(one, nothing)
        waits = stands.running.number + stands.queued.number
        return -stands.trouble, -waits, -happened.get(one, none).count(Measure.PROCESSED), names.get(one, str(one))

    found = sorted(standing.keys() | happened.keys(), key=weight)
    rows = []
    for one in found[:MOST_ROWS]:
        chosen = {by: str(one)}
        stands = [
            Number(str(tally), jobs_where(asked, **{**filters, **chosen}) if tally else "")
            for tally, filters in ((getattr(standing.get(one, nothing), place), told) for place, _, _, told in PLACES)
        ]
        done = jobs_where(asked, status=Status.PROCESSED.value, **chosen)
        seen = _history(happened.get(one, none), done, timed=timed)
        rows.append(Row(markup.visible(names.get(one, str(one))), [*stands, *seen]))
    if rest := found[MOST_ROWS:]:
        total = Standing()
        for one in rest:
            total.add(standing.get(one, nothing))
        bare = [Number(str(getattr(total, place))) for place, _, _, _ in PLACES]
        sums = rollups.together(happened[one] for one in rest if one in happened)
        rows.append(Row(f"{len(rest):,} others", [*bare, *_history(sums, "", timed=timed)]))
    columns = [*(title for _, title, _, _ in PLACES), "Processed", *(("p50", "p99") if timed else ())]
    return Table(by, f"By {by}", columns, rows)


def _history(sums: Sums, link: str, *, timed: bool) -> Iterable[Number]:
    processed = sums.count(Measure.PROCESSED)
    yield Number(f"{processed:,}", link if processed else "")
    if timed:
        yield from (Number(drawings.milliseconds(sums.percentile(Measure.DURATION, percent))) for percent in (50, 99))


# ------------------------------------------------------------------------------------------------ lists
def _questions(asked: Asked) -> list[dict[str, Any]]:
    """Open interventions whose subjects are no jobs: a blocked job speaks for itself."""
    return [
        {
            "what": markup.visible(row.subject_type),
            "key": markup.visible(row.subject_id),
            "link": reverse("admin:jobs_intervention_change", args=(row.id,)),
            "badge": markup.badge("asks", OPEN),
            "project": asked.projects.get(row.project_id, str(row.project_id)) if row.project_id else "Platform",
            "reason": markup.spoken(row.reason)[:160],
            "at": markup.moment(row.since),
        }
        for row in overview.questions(asked.project, MOST_QUESTIONS)
    ]


def _troubles(asked: Asked) -> list[dict[str, Any]]:
    return [
        {
            "job": job,
            "link": reverse("admin:jobs_job_change", args=(job.id,)),
            "badge": looks.status(job.status),
            "project": asked.projects.get(job.project_id, str(job.project_id)),
            "code": markup.code(job.error["code"]) if isinstance(job.error, dict) and job.error.get("code") else "",
            "text": markup.visible(str(job.error.get("message", "")))[:160] if isinstance(job.error, dict) else "",
            "at": markup.moment(job.since),
        }
        for job in overview.troubles(asked.project, MOST_TROUBLES)
    ]


def _pauses(asked: Asked) -> list[dict[str, Any]]:
    return [
        {
            "link": f"{reverse('admin:jobs_pause_changelist')}",
            "what": " ".join(part for part in (row.kind, row.queue and f"queue {row.queue}") if part) or "all jobs",
            "whose": asked.projects.get(row.project_id, str(row.project_id)) if row.project_id else "all projects",
            "reason": markup.visible(row.reason)[:160],
            "until": markup.moment(row.until) if row.until else "",
        }
        for row in overview.paused(asked.project, MOST_PAUSES)
    ]


def _workers() -> list[dict[str, Any]]:
    now = timezone.now()
    found = Worker.objects.filter(stopped_at=None).order_by("name", "pid")[:MOST_WORKERS]
    return [
        {
            "name": worker.name,
            "pid": worker.pid,
            "badge": markup.badge(state_of(worker, now), LOOKS[state_of(worker, now)]),
            "queues": markup.words(worker.queues),
            "heard": markup.moment(worker.heartbeat_at),
        }
        for worker in found
    ]
