"""The kind that tells people of alarms, one message a job."""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from django.conf import settings
from pydantic import BaseModel, Field

from jobs import Batch, Done, Reject, Retry, Run, exponential, handler
from reconciliation import gateway
from reconciliation.errors import NoMail, Untellable
from reconciliation.measures import MEASURES
from reconciliation.models import Alarm
from reconciliation.services.alarms import NOTIFY, told
from reconciliation.states import AlarmState

WORDS = {"fired": "FIRING", "resolved": "Resolved"}


class Notify(BaseModel):
    """What happened to which alarms (of one rule), and who is told: an address of mail, or the ARN of a topic."""

    what: Literal["fired", "resolved"]
    channel: Literal["mail", "sns"]
    to: str
    alarms: list[UUID] = Field(min_length=1, max_length=100)


@handler(
    NOTIFY,
    payload=Notify,
    retry=Retry(max_attempts=8, backoff=exponential(5, cap=300)),
    timeout=60,
    expect=5,
    batch=Batch(1),
    public=False,
    confirm="never",
    example={"what": "fired", "channel": "mail", "to": "ops@example.com", "alarms": [UUID(int=0)]},
)
def notify(job: Run[Notify]) -> Done | Reject:
    """Tell somebody of alarms. Each try has the same message id, by which a second one is known as the same."""
    alarms = list(Alarm.objects.filter(id__in=job.payload.alarms).order_by("id"))
    if not alarms:
        return Done({"told": 0})
    subject, text = said(job.payload.what, alarms)
    try:
        if job.payload.channel == "mail":
            headers = {"X-Jobplatform-Alarm": str(alarms[0].id), "X-Jobplatform-Severity": alarms[0].severity}
            # What is over stands in one thread with what it ends.
            thread = f"<alarm-{alarms[0].id}@jobplatform>"
            if job.payload.what == "resolved":
                headers |= {"In-Reply-To": thread, "References": thread}
            message_id = thread if job.payload.what == "fired" else f"<{job.id}@jobplatform>"
            gateway.mail(job.payload.to, subject, text, message_id=message_id, headers=headers)
        else:
            first = alarms[0]
            about = {
                "state": AlarmState.FIRING if job.payload.what == "fired" else AlarmState.RESOLVED,
                "severity": first.severity,
                "rule": first.name,
                "alarms": [{"id": str(alarm.id), "since": alarm.since.isoformat(), **told(alarm)} for alarm in alarms],
                "text": text,
            }
            gateway.publish(
                job.payload.to, subject, about, message_id=str(job.id), group=str(first.rule_id or first.id)
            )
    except (NoMail, Untellable) as error:
        return Reject(error.code, str(error))
    return Done({"told": len(alarms)})


def said(what: str, alarms: Sequence[Alarm]) -> tuple[str, str]:
    """Subject and text of a message about alarms of one rule."""
    first = alarms[0]
    measure = MEASURES.get(first.measure)
    unit = measure.unit if measure else ""
    several = f" and {len(alarms) - 1} more" if len(alarms) > 1 else ""
    about = f" ({first.subject}{several})" if first.subject else ""
    subject = f"[{first.severity}] {WORDS[what]}: {first.name}{about}"
    lines = [subject, ""]
    for alarm in alarms:
        value = f"{alarm.value:,.6g} {unit}, worst {alarm.worst:,.6g}, threshold {alarm.threshold:,.6g}"
        lines.append(f"{alarm.subject or (measure.title if measure else first.measure)}: {value}")
        lines.append(f"  since {alarm.since:%Y-%m-%d %H:%M:%S} UTC")
        if alarm.resolved_at:
            lines.append(f"  over {alarm.resolved_at:%Y-%m-%d %H:%M:%S} UTC {alarm.why_resolved}".rstrip())
        if settings.ADMIN_URL:
            lines.append(f"  {settings.ADMIN_URL}/reconciliation/alarm/{alarm.id}/change/")
    if first.rule and first.rule.advice and what == "fired":
        lines += ["", first.rule.advice]
    return subject, "\n".join(lines) + "\n"
