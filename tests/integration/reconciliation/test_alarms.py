"""Rules and their alarms: measured, fired, told, silenced, over; and tried on what was measured before."""

import datetime as dt
import re
import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.db import transaction
from uuid_utils.compat import uuid7

from events.models import AuditRecord, Event
from jobs import beat, extensions, registry, store
from jobs.extensions import Round
from jobs.firing import LONGEST_WAIT
from jobs.models import Job
from jobs.states import PLATFORM
from reconciliation import shipped
from reconciliation.errors import AlarmNotFound, InvalidRule
from reconciliation.handlers.alarms import said
from reconciliation.measures import MEASURES, Measure, Reading
from reconciliation.models import Alarm, AlarmRule, AlarmSample, Silence
from reconciliation.services import alarms, rules
from reconciliation.services.plans import By
from reconciliation.services.rules import Hush
from tests.contracts.deliveries import PROJECT, Worker
from tests.integration.reconciliation.conftest import Shop

BY = By("user:ada", "it is known")
ADA = "ada@example.com"


@pytest.fixture(autouse=True)
def _alone(committed_alone: None, settings: Any) -> None:
    settings.ALARM_MAIL_TO = [ADA]


def make(**options: Any) -> AlarmRule:
    """A rule over the age of queues, which fires at once and ends at once."""
    given = {"name": "Waits", "measure": "queue_age", "threshold": 100, "clears_at": 50, "lasts_seconds": 0}
    return rules.save(AlarmRule(id=uuid7(), **{**given, "calm_seconds": 0, "severity": "warn", **options}), BY)


def judge(*readings: tuple[str, float], measure: str = "queue_age", project_id: UUID | None = None) -> None:
    """A round in which this was measured, by subject."""
    with transaction.atomic():
        alarms.judge({measure: [Reading(project_id, subject, value) for subject, value in readings]})


def told() -> list[tuple[str, str, int]]:
    """The messages that are to be sent: what, to whom, of how many alarms."""
    jobs = Job.objects.filter(kind=alarms.NOTIFY).order_by("id")
    return [(job.payload["what"], job.payload["to"], len(job.payload["alarms"])) for job in jobs]


def published() -> list[tuple[str, str]]:
    found = Event.objects.filter(type__startswith="alarm.").order_by("position", "id")
    return [(event.type, event.data["subject"]) for event in found]


def test_an_alarm_is_published_and_told_once_when_it_fires_and_once_when_it_is_over() -> None:
    make()
    judge(("default", 40), ("chain", 101))
    judge(("default", 40), ("chain", 130))

    alarm = Alarm.objects.get()
    assert (alarm.state, alarm.subject, alarm.value, alarm.worst) == ("firing", "chain", 130, 130)
    assert published() == [("alarm.fired", "chain")]
    assert told() == [("fired", ADA, 1)]

    judge(("default", 40), ("chain", 60))
    judge(("default", 40), ("chain", 50))
    judge(("default", 40), ("chain", 50))

    alarm.refresh_from_db()
    assert (alarm.state, alarm.worst, alarm.seq) == ("resolved", 130, 2)
    assert published() == [("alarm.fired", "chain"), ("alarm.resolved", "chain")]
    assert told() == [("fired", ADA, 1), ("resolved", ADA, 1)]

    judge(("chain", 101))
    assert Alarm.objects.filter(state="firing").count() == 1, "another one, with a row of its own"


def test_what_was_pending_only_leaves_nothing_behind() -> None:
    make(lasts_seconds=60)
    judge(("default", 101))
    assert Alarm.objects.get().state == "pending"
    judge(("default", 99))

    assert not Alarm.objects.exists()
    assert published() == []
    assert told() == []


def test_the_clock_of_the_platform_says_how_long_it_lasts(pass_time: Any) -> None:
    make(lasts_seconds=60, calm_seconds=30)
    judge(("default", 101))
    pass_time(59)
    judge(("default", 101))
    assert Alarm.objects.get().state == "pending"
    pass_time(2)
    judge(("default", 101))
    assert Alarm.objects.get().state == "firing"
    judge(("default", 1))
    pass_time(31)
    judge(("default", 1))
    assert Alarm.objects.get().state == "resolved"


def test_subjects_of_one_rule_that_fire_together_share_a_message() -> None:
    make(mail_to=["ops@example.com", "ada@example.com"], topics=["arn:aws:sns:eu-west-1:123456789012:ops"])
    judge(*((f"queue {n}", 101.0) for n in range(60)))

    assert sorted(told()) == sorted(
        ("fired", to, number)
        for to in ("ops@example.com", "ada@example.com", "arn:aws:sns:eu-west-1:123456789012:ops")
        for number in (50, 10)
    )


def test_a_silence_holds_messages_back_until_its_end_and_nothing_else(pass_time: Any) -> None:
    rule = make()
    rules.silence(Hush(rule.id, "chain", store.now() + dt.timedelta(minutes=5)), BY)
    judge(("default", 101), ("chain", 101))
    assert len(published()) == 2
    assert told() == [("fired", ADA, 1)]

    judge(("default", 101), ("chain", 101))
    assert told() == [("fired", ADA, 1)]
    pass_time(301)
    judge(("default", 101), ("chain", 101))
    assert told() == [("fired", ADA, 1)] * 2, "it fires still, and nobody was told"


def test_what_was_silenced_from_its_beginning_to_its_end_is_not_told() -> None:
    row = rules.silence(Hush(None, "", store.now() + dt.timedelta(minutes=5)), BY)
    make()
    judge(("default", 101))
    judge(("default", 1))
    assert told() == []

    rules.end_silence(row, BY)
    judge(("default", 101))
    assert told() == [("fired", ADA, 1)]
    acts = set(AuditRecord.objects.values_list("action", flat=True))
    assert acts == {"silence.add", "silence.end", "rule.add"}


def test_alarms_of_a_rule_that_is_switched_off_or_removed_are_over() -> None:
    one, other = make(), make(name="Waits long", threshold=200, clears_at=200)
    make(name="Waits very long", threshold=250, clears_at=250, lasts_seconds=60)
    judge(("default", 300))
    assert Alarm.objects.count() == 3
    one.enabled = False
    rules.save(one, BY)
    rules.remove(other, BY)
    AlarmRule.objects.filter(name="Waits very long").update(enabled=False)
    judge(("default", 300))

    assert sorted(Alarm.objects.values_list("state", "why_resolved")) == [
        ("resolved", "the rule does not hold any more"),
        ("resolved", "the rule is gone"),
    ]
    assert told().count(("resolved", ADA, 1)) == 2


def test_a_rule_of_a_project_asks_about_that_project_and_is_published_to_it() -> None:
    make(measure="dead_letters", project_id=PROJECT)
    judge(("", 500), measure="dead_letters")
    assert not Alarm.objects.filter(measure="dead_letters", name="Waits").exists()
    judge(("", 500), measure="dead_letters", project_id=PROJECT)

    event = Event.objects.get(type="alarm.fired")
    assert event.project_id == PROJECT
    assert event.data == {
        "rule": "Waits", "measure": "dead_letters", "subject": "", "severity": "warn", "value": 500, "worst": 500,
        "threshold": 100,
    }  # fmt: skip
    assert Job.objects.get(kind=alarms.NOTIFY).project_id == PLATFORM


def test_what_could_not_be_measured_leaves_its_alarms_as_they_are() -> None:
    make()
    judge(("default", 101))
    with transaction.atomic():
        alarms.judge({})
    assert Alarm.objects.get().state == "firing"


def test_one_measure_that_fails_does_not_keep_the_others_from_being_taken() -> None:
    def fail() -> Iterator[Reading]:
        with store.connection_of_django().cursor() as cur:
            cur.execute("select 1 / 0")
        yield Reading(None, "", 1)

    broken = Measure("broken", "Broken", "", fail)
    found = alarms.measured([broken, MEASURES["dead_letters"]])
    assert found == {"dead_letters": [Reading(None, "", 0)]}


def test_all_that_ships_is_measured_and_asked_in_a_round(shop: Shop) -> None:
    shop.dead(3)
    readings = alarms.measured(MEASURES.values())

    assert set(readings) == set(MEASURES)
    assert {(one.project_id, one.value) for one in readings["dead_letters"]} == {(None, 3.0), (PROJECT, 3.0)}
    assert {one.project_id for one in readings["dead_letter_age"]} == {None, PROJECT}
    assert all(0 <= one.value < 600 for one in readings["dead_letter_age"])

    alarms.look()
    assert set(AlarmRule.objects.values_list("name", flat=True)) == {rule.name for rule in shipped.RULES}
    assert {rule.measure for rule in shipped.RULES} == set(MEASURES)
    assert set(AlarmSample.objects.get().values) == set(MEASURES)
    for rule in AlarmRule.objects.all():
        rules.check(rule)


def test_every_measure_is_described() -> None:
    text = (settings.BASE_DIR / "docs" / "alarms.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(MEASURES)


def test_a_queue_in_which_work_is_due_and_that_nobody_serves_has_no_slots(shop: Shop) -> None:
    shop.submit(2)
    (reading,) = alarms.measured([MEASURES["worker_slots"]])["worker_slots"]
    assert (reading.subject, reading.value) == (registry.get("payment.make").queue, 0)


def test_the_rate_of_errors_is_of_kinds_with_enough_attempts(shop: Shop) -> None:
    from jobs import rollups

    shop.submit(30, error="bug")
    shop.submit(10)
    shop.submit(5, kind="payment.refund", error="bug")
    shop.work()
    shop.work("payment.refund")
    assert rollups.count(0, 0, 10_000) is not None

    found = alarms.measured([MEASURES["error_rate"]])["error_rate"]
    assert [(one.subject, one.value) for one in found] == [("payment.make", 75.0)]


def test_a_round_waits_for_nobody_who_makes_one() -> None:
    make()
    link = store.connection_of_django()
    held, over = threading.Event(), threading.Event()

    def hold() -> None:
        import psycopg

        with psycopg.connect(link.info.dsn, password=link.info.password) as other:
            other.execute("select pg_advisory_xact_lock(%s)", (alarms.LOCK,))
            held.set()
            over.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(20)
    try:
        alarms.look()
        assert not AlarmSample.objects.exists()
    finally:
        over.set()
        thread.join(20)
    alarms.look()
    assert AlarmSample.objects.exists()


def test_beat_makes_the_rounds_and_goes_on_when_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from jobplatform.celery import app

    made = []

    def fail() -> None:
        made.append("fails")
        raise ValueError

    monkeypatch.setattr(
        extensions.rounds, "_things", {"fails": Round(60, fail), "goes": Round(0, lambda: made.append("goes"))}
    )
    scheduler = beat.JobScheduler(app=app)
    assert scheduler.tick() <= LONGEST_WAIT
    scheduler.tick()
    assert made == ["fails", "goes", "goes"]
    assert "alarms" not in extensions.rounds


def test_beat_makes_rounds_of_alarms() -> None:
    assert extensions.rounds.get("alarms").run is alarms.look


def test_what_a_rule_would_have_done_is_what_it_did(pass_time: Any) -> None:
    rule = make(lasts_seconds=120, calm_seconds=60)
    levels = [40, 120, 130, 140, 60, 120, 40, 40, 40, 150, 40]
    for level in levels:
        judge(("default", level), ("chain", 10))
        pass_time(60)
    alarm = Alarm.objects.get()

    trial = rules.try_on(rule)
    (episode,) = trial.episodes
    assert alarm.fired_at is not None
    assert alarm.resolved_at is not None
    assert (episode.subject, episode.worst) == ("default", alarm.worst)
    assert abs(episode.fired_at - alarm.fired_at.timestamp()) < 60
    assert episode.resolved_at is not None
    assert abs(episode.resolved_at - alarm.resolved_at.timestamp()) < 60
    assert (trial.pending, trial.points) == (1, len(levels))

    rule.threshold, rule.clears_at = 1000, 1000
    assert rules.try_on(rule).episodes == []
    rule.threshold, rule.clears_at, rule.subject = 5, 5, "chain"
    assert [one.subject for one in rules.try_on(rule).episodes] == ["chain"]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"measure": "mood"}, "measure"),
        ({"name": " "}, "name"),
        ({"project_id": PROJECT}, "project_id"),
        ({"clears_at": 101}, "clears_at"),
        ({"measure": "funds", "clears_at": 99}, "clears_at"),
        ({"threshold": float("nan")}, "threshold"),
        ({"lasts_seconds": -1}, "lasts_seconds"),
        ({"calm_seconds": 1e9}, "calm_seconds"),
        ({"severity": "mild"}, "severity"),
        ({"mail_to": ["ada"]}, "mail_to"),
        ({"topics": ["ops"]}, "topics"),
    ],
)
def test_a_rule_that_no_alarm_could_have_is_refused(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRule) as refused:
        make(**changed)
    assert refused.value.field == field
    assert not AlarmRule.objects.exists()


def test_a_change_of_a_rule_is_audited_with_what_it_changed() -> None:
    rule = make()
    rule.threshold = 300
    rules.save(rule, BY)
    record = AuditRecord.objects.get(action="rule.change")
    assert (record.actor, record.reason, record.data) == ("user:ada", "it is known", {"threshold": 300})


def test_a_silence_has_an_end_that_is_not_far() -> None:
    for until in (store.now() - dt.timedelta(seconds=1), store.now() + dt.timedelta(days=91)):
        with pytest.raises(InvalidRule):
            rules.silence(Hush(None, "", until), BY)
    with pytest.raises(AlarmNotFound):
        rules.silence_alarm(uuid7(), None, store.now() + dt.timedelta(hours=1), BY)
    assert not Silence.objects.exists()


def test_a_message_says_what_where_since_when_and_what_to_do(settings: Any) -> None:
    settings.ADMIN_URL = "https://jobs.example/admin"
    make(advice="Start workers.", severity="page")
    judge(("default", 301), ("chain", 1e6))
    subject, text = said("fired", list(Alarm.objects.filter(name="Waits").order_by("subject")))

    assert subject == "[page] FIRING: Waits (chain and 1 more)"
    assert "chain: 1e+06 s, worst 1e+06, threshold 100" in text
    assert "default: 301 s, worst 301, threshold 100" in text
    assert text.count("https://jobs.example/admin/reconciliation/alarm/") == 2
    assert text.endswith("Start workers.\n")


def test_what_no_worker_sends_is_sent_by_beat(pass_time: Any, smtp: Any, settings: Any) -> None:
    settings.EMAIL_URL = smtp.url
    make(calm_seconds=600)
    judge(("default", 101))
    alarms.look()
    assert smtp.messages == [], "a worker has its chance first"
    pass_time(alarms.UNSENT.total_seconds() + 1)
    alarms.look()

    (message,) = smtp.messages
    assert message["To"] == ADA
    assert Job.objects.get(kind=alarms.NOTIFY).status == "processed"
    assert Worker(registry.get(alarms.NOTIFY), "late").claim() == []
