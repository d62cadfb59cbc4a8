"""Alarms as JSON."""

import datetime as dt
from typing import Any, Literal
from uuid import UUID

from django.urls import reverse
from pydantic import BaseModel, ConfigDict

from jobplatform.api.query import Moment
from jobs.serializers.asks import Ask
from reconciliation.measures import MEASURES
from reconciliation.models import Alarm
from reconciliation.serializers import Reason
from reconciliation.states import AlarmState

ALARM_STATES = tuple(state.value for state in AlarmState)


class AlarmLinks(BaseModel):
    """Addresses of an alarm."""

    self: str
    silence: str


class AlarmShown(BaseModel):
    """One time that a rule was broken.

    `subject`: which queue, kind or address; empty where there is but one. `value` is the last one, `worst` the worst
    since it began, in `unit`. `told_at`: when messages were sent; null while it is pending or silenced.
    """

    id: UUID
    rule: str
    measure: str
    unit: str
    subject: str
    severity: Literal["page", "warn"]
    state: Literal["pending", "firing", "resolved"]
    value: float
    worst: float
    threshold: float
    since: dt.datetime
    fired_at: dt.datetime | None
    told_at: dt.datetime | None
    resolved_at: dt.datetime | None
    links: AlarmLinks


def show_alarm(row: Alarm, *, platform: bool) -> dict[str, Any]:
    """An `AlarmShown`."""
    own = f"{reverse('reconciliation:platform_alarms' if platform else 'reconciliation:alarms')}/{row.id}"
    return {
        "id": row.id,
        "rule": row.name,
        "measure": row.measure,
        "unit": MEASURES[row.measure].unit if row.measure in MEASURES else "",
        "subject": row.subject,
        "severity": row.severity,
        "state": row.state,
        "value": row.value,
        "worst": row.worst,
        "threshold": row.threshold,
        "since": row.since,
        "fired_at": row.fired_at,
        "told_at": row.told_at,
        "resolved_at": row.resolved_at,
        "links": {"self": own, "silence": f"{own}/silence"},
    }


class SilenceAlarm(Ask):
    """Until when nobody is told, at most 90 days from now, and why."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"until": "2026-12-01T12:00:00Z", "reason": "The provider is told."}}
    )

    until: Moment
    reason: Reason


class SilenceShown(BaseModel):
    """What was silenced until when."""

    alarm_id: UUID
    until: dt.datetime
