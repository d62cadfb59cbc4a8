"""Rules of alarms and silences: made, changed and ended by people; and a rule tried on what was measured before."""

import datetime as dt
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from uuid_utils.compat import uuid7

from events import audit
from jobs import store
from reconciliation.alarming import Bounds, Trial, replay
from reconciliation.errors import AlarmNotFound, InvalidRule
from reconciliation.measures import MEASURES, Reading
from reconciliation.models import Alarm, AlarmRule, AlarmSample, Silence
from reconciliation.services.alarms import bounds_of, values_for
from reconciliation.services.plans import By
from reconciliation.states import Severity

HISTORY = dt.timedelta(days=7)
LONGEST_SILENCE = dt.timedelta(days=90)
LONGEST = dt.timedelta(days=7).total_seconds()
FIELDS = (
    "name", "measure", "project_id", "subject", "threshold", "clears_at", "lasts_seconds", "calm_seconds", "severity",
    "mail_to", "topics", "enabled", "advice",
)  # fmt: skip


def check(rule: AlarmRule) -> None:
    """Nothing, if a rule may stand so. Raises `InvalidRule` with the field that does not fit."""
    for field, fits, message in _conditions(rule):
        if not fits:
            raise InvalidRule(message, field=field)


def _conditions(rule: AlarmRule) -> Iterator[tuple[str, bool, str]]:
    """What must hold of a rule, each after those that it takes for granted: the field, whether it does, what to say."""
    measure = MEASURES.get(rule.measure)
    yield "measure", measure is not None, f"What is measured is one of {', '.join(MEASURES)}."
    assert measure is not None  # noqa: S101 - the caller has asked
    yield "name", bool(rule.name.strip()), "A rule has a name."
    whose = rule.project_id is None or measure.by_project
    yield "project_id", whose, f"{measure.title}: that is measured of the whole platform alone."
    for name in ("threshold", "clears_at", "lasts_seconds", "calm_seconds"):
        yield name, math.isfinite(getattr(rule, name)), "That is no number."
    for name in ("lasts_seconds", "calm_seconds"):
        yield name, 0 <= getattr(rule, name) <= LONGEST, f"Between 0 and {LONGEST:,.0f} seconds."
    milder = rule.clears_at <= rule.threshold if measure.above else rule.clears_at >= rule.threshold
    side = "at most" if measure.above else "at least"
    yield "clears_at", milder, f"An alarm is over at a milder value: {side} {rule.threshold:g}."
    yield "severity", rule.severity in set(Severity), f"One of {', '.join(Severity)}."
    for to in rule.mail_to:
        yield "mail_to", _is_mail(to), f"{to} is no address of mail."
    for topic in rule.topics:
        yield "topics", _ARN.fullmatch(topic) is not None, f"{topic} is no ARN of a topic of SNS."


_ARN = re.compile(r"arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]*:[A-Za-z0-9_-]{1,256}(\.fifo)?")


def _is_mail(to: str) -> bool:
    try:
        validate_email(to)
    except ValidationError:
        return False
    return True


def save(rule: AlarmRule, by: By) -> AlarmRule:
    """Make or change a rule; it holds from the next round on. Raises `InvalidRule`."""
    check(rule)
    with transaction.atomic():
        before = AlarmRule.objects.select_for_update().filter(id=rule.id).first()
        changed = {name: getattr(rule, name) for name in FIELDS}
        if before is not None:
            changed = {name: value for name, value in changed.items() if value != getattr(before, name)}
        rule.changed_at = store.now()
        rule.save()
        _record(rule, "change" if before else "add", by, {name: _json(value) for name, value in changed.items()})
    return rule


def remove(rule: AlarmRule, by: By) -> None:
    """Remove a rule; its alarms are over with the next round. One that ships with the platform comes back."""
    with transaction.atomic():
        _record(rule, "remove", by, {"name": rule.name})
        rule.delete()


def try_on(rule: AlarmRule, *, since: dt.timedelta = HISTORY) -> Trial:
    """What a rule would have done with what was measured before, once a minute. Raises `InvalidRule`."""
    check(rule)
    return trial(bounds_of(rule), rule, store.now() - since)


def trial(bounds: Bounds, rule: AlarmRule, since: dt.datetime) -> Trial:
    """The same from a moment on, for a rule that was checked."""
    rows = AlarmSample.objects.filter(at__gte=since).order_by("at").values_list("at", f"values__{rule.measure}")
    return replay(
        bounds,
        (
            (at.timestamp(), values_for(rule.project_id, rule.subject, (_reading(one) for one in found)))
            for at, found in rows.iterator(chunk_size=2000)
            if found is not None  # it could not be measured then
        ),
    )


def _reading(one: list[Any]) -> Reading:
    project_id, subject, value = one
    return Reading(UUID(project_id) if project_id else None, subject, value)


@dataclass(frozen=True, slots=True)
class Hush:
    """What is silenced, and until when. `rule_id` None: all alarms; `subject` "": of whatever."""

    rule_id: UUID | None
    subject: str
    until: dt.datetime


def silence(what: Hush, by: By) -> Silence:
    """Send no messages of some alarms until a moment. Alarms are published and shown all the same.

    Raises `InvalidRule`: the end is not within 90 days from now.
    """
    now = store.now()
    if not now < what.until <= now + LONGEST_SILENCE:
        message = f"A silence ends within {LONGEST_SILENCE.days} days from now."
        raise InvalidRule(message, field="until")
    with transaction.atomic():
        row = Silence.objects.create(
            id=uuid7(), rule_id=what.rule_id, subject=what.subject, until=what.until, actor=by.actor, reason=by.reason
        )
        _record(row, "add", by, {"until": what.until.isoformat(), "about": str(row)})
    return row


def silence_alarm(alarm_id: UUID, project_id: UUID | None, until: dt.datetime, by: By) -> Alarm:
    """Silence what an alarm is about. `project_id`: whose it is. Raises `AlarmNotFound`, `InvalidRule`."""
    alarm = Alarm.objects.filter(id=alarm_id, project_id=project_id).first()
    if alarm is None or alarm.rule_id is None:
        raise AlarmNotFound(alarm_id=alarm_id)
    silence(Hush(alarm.rule_id, alarm.subject, until), by)
    return alarm


def end_silence(row: Silence, by: By) -> Silence:
    """Have messages sent again. What fires still is told with the next round."""
    with transaction.atomic():
        row.until = min(row.until, store.now())
        row.save(update_fields=["until"])
        _record(row, "end", by, {"about": str(row)})
    return row


def _record(row: AlarmRule | Silence, verb: str, by: By, data: Mapping[str, Any]) -> None:
    subject = "rule" if isinstance(row, AlarmRule) else "silence"
    audit.record(
        action=f"{subject}.{verb}", actor=by.actor, subject_type=subject, subject_id=row.id, project_id=None,
        reason=by.reason, data=dict(data),
    )  # fmt: skip


def _json(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value
