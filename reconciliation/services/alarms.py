"""The rounds of alarms: all is measured, each rule is asked, and what changes is published, mailed and sent.

Beat makes them, so that they need no worker. What is told is told by jobs (`alarm.notify`), which are made in the
transaction that moves the alarm on: exactly one for each change and each address. Several subjects of one rule that
change in one round share a message.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction
from uuid_utils.compat import uuid7

from events import log
from events.log import NewEvent
from jobs import extensions, resort, services, store
from jobs.extensions import Round
from jobs.services import JobRequest
from jobs.states import PLATFORM
from reconciliation import shipped
from reconciliation.alarming import Bounds, Course, step
from reconciliation.measures import MEASURES, Measure, Reading
from reconciliation.models import Alarm, AlarmRule, AlarmSample, Silence
from reconciliation.states import AlarmState

logger = structlog.get_logger(__name__)

EVERY_SECONDS = 15.0
NOTIFY = "alarm.notify"
LOCK = 7_301_990_150
"""Advisory lock: one process makes a round at a time."""
MOST_TOGETHER = 50
"""Alarms of one message."""
UNSENT = dt.timedelta(seconds=45)
"""A message that no worker has begun to send for so long is sent by beat."""
OPEN = (AlarmState.PENDING, AlarmState.FIRING)

Values = Mapping[tuple[UUID | None, str], float]


def register() -> None:
    """Have beat make the rounds."""
    extensions.rounds.register("alarms", Round(EVERY_SECONDS, look))


def look() -> None:
    """One round: measure, move alarms on, and send what no worker sends."""
    readings = measured(MEASURES.values())
    with transaction.atomic():
        if _lock():
            judge(readings)
    resort.run_late(NOTIFY, UNSENT)


def measured(measures: Iterable[Measure]) -> dict[str, list[Reading]]:
    """What there is to be said now. A measure that cannot be taken is left out, and its alarms stay as they are."""
    found = {}
    for measure in measures:
        try:
            with transaction.atomic():
                found[measure.name] = list(measure.take())
        except store.DATABASE_ERRORS as error:
            if connection.connection is None or connection.connection.closed:
                raise
            logger.warning("not measured", handler="alarms", action=measure.name, details=str(error)[:300])
    return found


def _lock() -> bool:
    with log.cursor() as cur:
        cur.execute("select pg_try_advisory_xact_lock(%s)", (LOCK,))
        ((locked,),) = cur.fetchall()
    return bool(locked)


def bounds_of(rule: AlarmRule) -> Bounds:
    """What a rule says, for the machine that judges."""
    above = MEASURES[rule.measure].above
    return Bounds(above, rule.threshold, rule.clears_at, rule.lasts_seconds, rule.calm_seconds)


# ---------------------------------------------------------------------------------------------- one round


@dataclass(slots=True)
class _Changes:
    """What a round has changed."""

    made: list[Alarm] = field(default_factory=list)
    kept: list[Alarm] = field(default_factory=list)
    dropped: list[UUID] = field(default_factory=list)
    fired: list[Alarm] = field(default_factory=list)
    resolved: list[Alarm] = field(default_factory=list)


def judge(readings: Mapping[str, Sequence[Reading]]) -> None:
    """Move alarms on by what was measured, in the caller's transaction, which holds the lock of rounds."""
    now = store.now()
    _sample(now, readings)
    shipped.ensure_rules()
    rules = {rule.id: rule for rule in AlarmRule.objects.all()}
    open_: dict[UUID | None, list[Alarm]] = defaultdict(list)
    for alarm in Alarm.objects.select_for_update().filter(state__in=OPEN):
        open_[alarm.rule_id].append(alarm)
    changes = _Changes()
    for rule_id, alarms in open_.items():
        rule = rules.get(rule_id) if rule_id else None
        if rule is None or not rule.enabled or rule.measure not in MEASURES:
            _end(changes, alarms, now, "the rule is gone" if rule is None else "the rule does not hold any more")
    for rule in rules.values():
        if rule.enabled and rule.measure in readings:
            values = values_for(rule.project_id, rule.subject, readings[rule.measure])
            _ask(changes, rule, values, {alarm.subject: alarm for alarm in open_[rule.id]}, now)
    _write(changes)
    _publish(changes)
    _tell(changes, rules, now)


def values_for(project_id: UUID | None, subject: str, readings: Iterable[Reading]) -> dict[str, float]:
    """What concerns a rule, by subject."""
    return {
        one.subject: one.value
        for one in readings
        if one.project_id == project_id and (not subject or one.subject == subject)
    }


def _sample(now: dt.datetime, readings: Mapping[str, Sequence[Reading]]) -> None:
    """Keep what was measured, once a minute, so that rules can be tried on it."""
    values = {
        name: [[str(one.project_id) if one.project_id else None, one.subject, one.value] for one in found]
        for name, found in readings.items()
    }
    at = now.replace(second=0, microsecond=0)
    AlarmSample.objects.bulk_create([AlarmSample(at=at, values=values)], ignore_conflicts=True)


def _ask(
    changes: _Changes, rule: AlarmRule, values: Mapping[str, float], there: Mapping[str, Alarm], now: dt.datetime
) -> None:
    bounds = bounds_of(rule)
    for subject in sorted(values.keys() | there.keys()):
        alarm = there.get(subject)
        after = step(bounds, _course(alarm), values.get(subject), now.timestamp())
        if after is None:
            if alarm is not None:
                changes.dropped.append(alarm.id)
            continue
        if alarm is None:
            alarm = Alarm(
                id=uuid7(), rule=rule, name=rule.name, measure=rule.measure, project_id=rule.project_id,
                subject=subject, severity=rule.severity, threshold=rule.threshold, since=now, state=AlarmState.PENDING,
            )  # fmt: skip
            changes.made.append(alarm)
        else:
            changes.kept.append(alarm)
        before = alarm.state
        alarm.state, alarm.value, alarm.worst = after.state, after.value, after.worst
        alarm.calm_since = None if after.calm_since is None else dt.datetime.fromtimestamp(after.calm_since, dt.UTC)
        if after.state == AlarmState.FIRING and before == AlarmState.PENDING:
            alarm.fired_at = now
            changes.fired.append(alarm)
        if after.state == AlarmState.RESOLVED:
            alarm.resolved_at = now
            changes.resolved.append(alarm)


def _course(alarm: Alarm | None) -> Course | None:
    if alarm is None:
        return None
    calm = alarm.calm_since.timestamp() if alarm.calm_since else None
    return Course(AlarmState(alarm.state), alarm.since.timestamp(), alarm.value, alarm.worst, calm)


def _end(changes: _Changes, alarms: Iterable[Alarm], now: dt.datetime, why: str) -> None:
    """End what no rule asks about any more."""
    for alarm in alarms:
        if alarm.state == AlarmState.PENDING:
            changes.dropped.append(alarm.id)
            continue
        alarm.state, alarm.resolved_at, alarm.why_resolved = AlarmState.RESOLVED, now, why
        changes.kept.append(alarm)
        changes.resolved.append(alarm)


_MOVED = ["state", "value", "worst", "calm_since", "fired_at", "resolved_at", "why_resolved", "told_at", "seq"]


def _write(changes: _Changes) -> None:
    for alarm in (*changes.fired, *changes.resolved):
        alarm.seq += 1
    Alarm.objects.filter(id__in=changes.dropped).delete()
    Alarm.objects.bulk_create(changes.made)
    if changes.kept:
        Alarm.objects.bulk_update(changes.kept, _MOVED)


def _publish(changes: _Changes) -> None:
    log.append(
        [
            NewEvent(alarm.project_id or PLATFORM, event, alarm.id, alarm.seq, told(alarm))
            for event, alarms in (("alarm.fired", changes.fired), ("alarm.resolved", changes.resolved))
            for alarm in alarms
        ]
    )


def told(alarm: Alarm) -> dict[str, object]:
    """What is told of an alarm, to whomever."""
    return {
        "rule": alarm.name,
        "measure": alarm.measure,
        "subject": alarm.subject,
        "severity": alarm.severity,
        "value": alarm.value,
        "worst": alarm.worst,
        "threshold": alarm.threshold,
    }


# ---------------------------------------------------------------------------------------------- messages


def _tell(changes: _Changes, rules: Mapping[UUID, AlarmRule], now: dt.datetime) -> None:
    """Have messages sent: of what fires and was not told yet, unless it is silenced; and that what was told is over."""
    silences = list(Silence.objects.filter(until__gt=now))
    untold = Alarm.objects.select_for_update().filter(state=AlarmState.FIRING, told_at=None).order_by("id")
    firing = [alarm for alarm in untold if not silenced(alarm, silences)]
    over = [alarm for alarm in changes.resolved if alarm.told_at is not None]
    messages = [*_messages("fired", firing, rules), *_messages("resolved", over, rules)]
    Alarm.objects.filter(id__in=[alarm.id for alarm in firing]).update(told_at=now)
    if not messages:
        return
    requests = [JobRequest(NOTIFY, payload) for payload in messages]
    made = services.submit_many(project_id=PLATFORM, requests=requests, accepted=True)
    with log.cursor() as cur:
        for payload, job in zip(messages, made, strict=True):
            cur.execute(
                "update reconciliation_alarm set messages = messages || %s::uuid where id = any(%s::uuid[])",
                (job.id, payload["alarms"]),
            )


def silenced(alarm: Alarm, silences: Iterable[Silence]) -> bool:
    """Whether somebody wants to hear nothing of it for now."""
    return any(
        silence.rule_id in {None, alarm.rule_id} and silence.subject in {"", alarm.subject} for silence in silences
    )


def _messages(what: str, alarms: Sequence[Alarm], rules: Mapping[UUID, AlarmRule]) -> list[dict[str, Any]]:
    """What is to be told, as payloads of jobs."""
    by_rule: dict[UUID | None, list[str]] = defaultdict(list)
    for alarm in alarms:
        by_rule[alarm.rule_id].append(str(alarm.id))
    payloads: list[dict[str, Any]] = []
    for rule_id, ids in by_rule.items():
        rule = rules.get(rule_id) if rule_id else None
        for channel, to in addresses(rule):
            payloads += [
                {"what": what, "channel": channel, "to": to, "alarms": ids[at : at + MOST_TOGETHER]}
                for at in range(0, len(ids), MOST_TOGETHER)
            ]
    return payloads


def addresses(rule: AlarmRule | None) -> list[tuple[str, str]]:
    """Whom a rule has told: (channel, address)."""
    mail_to = (rule.mail_to if rule else []) or settings.ALARM_MAIL_TO
    topics = (rule.topics if rule else []) or settings.ALARM_TOPICS
    return [*(("mail", to) for to in mail_to), *(("sns", topic) for topic in topics)]
