"""Dead letters by cause; redrives: which jobs, how fast, and what came of each; and alarms with their rules.

Dead letters are counted from the log (`reconciliation/subscribers.py`), so that no page ever scans the jobs.
"""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from reconciliation.states import ENDED, UNSETTLED, AlarmState, PlanStatus, RowState, Severity


class DeadLetter(models.Model):
    """A job that has ended as failed or rejected at least once. `dead`: it still stands so.

    `seq`: that of the event which was counted last, so that an older one changes nothing.
    """

    job_id = models.UUIDField(primary_key=True)
    project_id = models.UUIDField()
    died_at = models.DateTimeField()
    seq = models.IntegerField()
    deaths = models.IntegerField(default=1)
    dead = models.BooleanField(default=True)
    kind = models.TextField()
    stage = models.TextField()
    status = models.TextField()
    code = models.TextField()
    fingerprint = models.TextField()

    class Meta:
        verbose_name = "dead letter"
        verbose_name_plural = "dead letters"
        indexes: ClassVar = [
            models.Index(
                name="reconciliation_dead_cause", fields=("project_id", "fingerprint", "job_id"), condition=Q(dead=True)
            ),
            models.Index(name="reconciliation_dead_project", fields=("project_id", "job_id"), condition=Q(dead=True)),
            models.Index(name="reconciliation_dead_all", fields=("job_id",), condition=Q(dead=True)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.job_id}: {self.code}"


class Cause(models.Model):
    """Dead letters of one kind that died of the same: equal errors but for ids and numbers (`fingerprint`).

    `dead`: how many stand so now. `total`: how often it happened. `message` and `sample_id`: the latest one.
    """

    pk = models.CompositePrimaryKey("project_id", "fingerprint", "kind")
    project_id = models.UUIDField()
    fingerprint = models.TextField()
    kind = models.TextField()
    code = models.TextField()
    message = models.TextField()
    sample_id = models.UUIDField()
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    total = models.BigIntegerField()
    dead = models.BigIntegerField()

    class Meta:
        indexes: ClassVar = [
            models.Index(name="reconciliation_cause_dead", fields=("last_at",), condition=Q(dead__gt=0)),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.kind}"


class CauseHour(models.Model):
    """How often it happened within an hour."""

    pk = models.CompositePrimaryKey("project_id", "fingerprint", "kind", "at")
    project_id = models.UUIDField()
    fingerprint = models.TextField()
    kind = models.TextField()
    at = models.DateTimeField()
    number = models.BigIntegerField()

    class Meta:
        indexes: ClassVar = [models.Index(name="reconciliation_hour_age", fields=("at",))]

    def __str__(self) -> str:
        return f"{self.fingerprint} {self.at}"


class Finding(models.Model):
    """What an invariant found when it was looked for last. `repaired`: how many were put right, ever."""

    name = models.TextField(primary_key=True)
    number = models.BigIntegerField()
    repaired = models.BigIntegerField(default=0)
    samples = models.JSONField(default=list)
    looked_at = models.DateTimeField()
    since = models.DateTimeField(null=True)  # since when there is something to be found

    def __str__(self) -> str:
        return f"{self.name}: {self.number}"


class Redrive(models.Model):
    """A plan: the dead letters that a filter named when it was made are queued once more, as it says.

    `filter` and `change` as the API takes them. `cursor`: the last dead letter that was looked at while freezing;
    `next_number`: the next row to be queued; `settled_to`: the last row that was looked at for what came of it.
    `project_id` null: of all projects.
    """

    id = models.UUIDField(primary_key=True)
    project_id = models.UUIDField(null=True)
    filter = models.JSONField()
    change = models.JSONField(default=dict)
    pace = models.FloatField(null=True)  # jobs a second; null: as fast as it goes
    canary = models.IntegerField(default=0)
    stop_above = models.FloatField(null=True)  # percent of those known that failed again
    spares_one_shots = models.BooleanField(default=False)  # what runs once at most is left to a person
    start_when_frozen = models.BooleanField(default=True)
    status = models.TextField(default=PlanStatus.FREEZING, choices=[(s.value, s.value) for s in PlanStatus])
    status_reason = models.TextField(default="", blank=True)
    actor = models.TextField()
    reason = models.TextField()
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    paced_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cursor = models.UUIDField(null=True)
    frozen = models.BigIntegerField(default=0)
    next_number = models.BigIntegerField(default=1)
    looked_at = models.DateTimeField(null=True)  # when it was looked last what came of jobs
    settled_to = models.BigIntegerField(default=0)
    judged = models.JSONField(default=dict)  # what was known when it was started last: that is not counted again
    redriven = models.BigIntegerField(default=0)
    recovered = models.BigIntegerField(default=0)
    failing = models.BigIntegerField(default=0)
    failed = models.BigIntegerField(default=0)
    cancelled = models.BigIntegerField(default=0)
    skipped = models.BigIntegerField(default=0)
    seq = models.IntegerField(default=0)

    class Meta:
        permissions: ClassVar = [("operate_redrive", "May plan, start, pause and abort redrives")]
        indexes: ClassVar = [
            models.Index(name="reconciliation_redrive_list", fields=("project_id", "id")),
            models.Index(
                name="reconciliation_redrive_open",
                fields=("id",),
                condition=~Q(status__in=sorted(s.value for s in ENDED)),
            ),
        ]

    def __str__(self) -> str:
        return f"redrive {self.id}"


class RedriveRow(models.Model):
    """One job of a redrive. `seq`: that of the job when it was written down; one that has moved on is left alone.

    `intervention_id`: the question about a confirmation, or about a transaction (then `job_id` is its id), that is
    answered with "retry" instead.
    """

    pk = models.CompositePrimaryKey("redrive_id", "number")
    redrive_id = models.UUIDField()
    number = models.BigIntegerField()
    job_id = models.UUIDField()
    intervention_id = models.UUIDField(null=True)
    project_id = models.UUIDField()
    seq = models.IntegerField()
    state = models.TextField(default=RowState.FROZEN, choices=[(s.value, s.value) for s in RowState])
    why = models.TextField(default="", blank=True)
    changed_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(
                name="reconciliation_row_unsettled",
                fields=("redrive_id", "number"),
                condition=Q(state__in=sorted(s.value for s in UNSETTLED)),
            ),
            models.Index(name="reconciliation_row_state", fields=("redrive_id", "state", "number")),
            models.Index(name="reconciliation_row_job", fields=("job_id",)),
        ]

    def __str__(self) -> str:
        return f"{self.redrive_id} {self.number}: {self.state}"


class AlarmRule(models.Model):
    """When somebody is told: a measure beyond a threshold for so long, until it is milder than another for so long.

    `project_id` null: what is measured of the whole platform. `subject` "": each queue, kind or address by itself.
    `mail_to` and `topics` empty: whom the settings name.
    """

    id = models.UUIDField(primary_key=True)
    name = models.TextField(unique=True)
    measure = models.TextField()
    project_id = models.UUIDField(null=True, blank=True)
    subject = models.TextField(default="", blank=True)
    threshold = models.FloatField()
    clears_at = models.FloatField()
    lasts_seconds = models.FloatField(default=60)
    calm_seconds = models.FloatField(default=120)
    severity = models.TextField(default=Severity.WARN, choices=[(s.value, s.value) for s in Severity])
    mail_to = ArrayField(models.TextField(), default=list, blank=True)
    topics = ArrayField(models.TextField(), default=list, blank=True)
    enabled = models.BooleanField(default=True)
    advice = models.TextField(default="", blank=True)
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = "rule of alarms"
        verbose_name_plural = "rules of alarms"

    def __str__(self) -> str:
        return self.name


class Alarm(models.Model):
    """One time that a rule was broken by one subject. `told_at`: when messages were sent; null while it is silenced."""

    id = models.UUIDField(primary_key=True)
    rule = models.ForeignKey(AlarmRule, null=True, on_delete=models.SET_NULL, related_name="alarms")
    name = models.TextField()  # of the rule, as it was called then; so are the others
    measure = models.TextField()
    project_id = models.UUIDField(null=True)
    subject = models.TextField(blank=True)
    severity = models.TextField()
    threshold = models.FloatField()
    state = models.TextField(choices=[(s.value, s.value) for s in AlarmState])
    value = models.FloatField()
    worst = models.FloatField()
    since = models.DateTimeField()
    fired_at = models.DateTimeField(null=True)
    calm_since = models.DateTimeField(null=True)
    resolved_at = models.DateTimeField(null=True)
    why_resolved = models.TextField(default="", blank=True)
    told_at = models.DateTimeField(null=True)
    messages = ArrayField(models.UUIDField(), default=list)  # the jobs that tell of it
    seq = models.IntegerField(default=0)

    class Meta:
        indexes: ClassVar = [
            models.Index(name="reconciliation_alarm_list", fields=("project_id", "id")),
            models.Index(name="reconciliation_alarm_over", fields=("resolved_at",)),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                name="reconciliation_alarm_one",
                fields=("rule", "subject"),
                condition=~Q(state=AlarmState.RESOLVED.value),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.subject}".strip()


class Silence(models.Model):
    """Until when nobody is told of alarms of a rule (null: of any), of one subject or of all ("")."""

    id = models.UUIDField(primary_key=True)
    rule = models.ForeignKey(AlarmRule, null=True, blank=True, on_delete=models.CASCADE)
    subject = models.TextField(default="", blank=True)
    until = models.DateTimeField()
    actor = models.TextField()
    reason = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes: ClassVar = [models.Index(name="reconciliation_silence_until", fields=("until",))]

    def __str__(self) -> str:
        return f"{self.rule or 'all alarms'} {self.subject}".strip()


class AlarmSample(models.Model):
    """All that was measured in a minute: `{measure: [[project, subject, value], ...]}`."""

    at = models.DateTimeField(primary_key=True)
    values = models.JSONField()

    class Meta:
        verbose_name = "sample of measures"
        verbose_name_plural = "samples of measures"

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M}"
