import datetime as dt
import hashlib
from collections.abc import Callable
from importlib import import_module
from uuid import UUID

import pytest
from django.db import connection, transaction
from uuid_utils.compat import uuid7

from events.models import Event
from ingestion import selectors, services
from ingestion.errors import CompanyOfAnotherProject, MessageConflict, MessageNotFound
from ingestion.models import Company, Comparison, DeadLetterCount, Message
from ingestion.services import DeadLetter
from ingestion.states import KIND, MessageStatus
from jobs import extensions
from jobs.errors import SubmitRefused
from jobs.extensions import Refusal
from jobs.models import Job
from tests.integration.ingestion.conftest import body_of
from tests.integration.projects.conftest import Tenant

pytestmark = pytest.mark.django_db

TIME = dt.datetime(2026, 11, 22, 5, tzinfo=dt.UTC)
Receive = Callable[..., selectors.KnownMessage]


def received(
    project_id: UUID,
    message_id: UUID,
    body: bytes,
    company_id: UUID = UUID(int=1),  # noqa: B008 - a constant
) -> services.Received:
    return services.receive(
        project_id=project_id, company_id=company_id, message_id=message_id, message_time=TIME, body=body
    )


# ------------------------------------------------------------------------------------------------ receiving
def test_a_message_is_kept_byte_for_byte_with_its_job(ours: Tenant) -> None:
    body = body_of()
    got = received(ours.project.id, uuid7(), body)

    row = Message.objects.get(id=got.message.id)
    job = Job.objects.get(id=got.message.id, project_id=ours.project.id)
    assert got.created
    assert bytes(row.body) == body
    assert bytes(row.body_sha256) == hashlib.sha256(body).digest()
    assert (row.size, row.stored_at, row.error) == (len(body), None, None)
    assert (job.kind, job.status) == (KIND, "queued")
    assert job.payload == {"company_id": str(UUID(int=1)), "message_id": str(row.message_id)}
    assert [e.type for e in Event.objects.filter(subject_id=job.id)] == ["job.queued"]


def test_what_is_answered_at_once_is_what_is_read_later(ours: Tenant) -> None:
    got = received(ours.project.id, uuid7(), body_of())

    assert selectors.message(got.message.id, project_id=ours.project.id) == got.message


def test_the_same_message_again_is_the_same_message(ours: Tenant) -> None:
    message_id, body = uuid7(), body_of()
    first = received(ours.project.id, message_id, body)
    second = received(ours.project.id, message_id, body)

    assert (second.created, second.message) == (False, first.message)
    assert Message.objects.count() == 1
    assert Job.objects.filter(kind=KIND).count() == 1


def test_another_body_under_the_same_id_is_a_conflict_and_changes_nothing(ours: Tenant) -> None:
    message_id, body = uuid7(), body_of()
    first = received(ours.project.id, message_id, body)

    with pytest.raises(MessageConflict):
        received(ours.project.id, message_id, body + b" ")

    assert bytes(Message.objects.get().body) == body
    assert selectors.message(first.message.id, project_id=ours.project.id) == first.message
    assert Job.objects.filter(kind=KIND).count() == 1


def test_tenants_may_use_the_same_message_id(ours: Tenant, theirs: Tenant) -> None:
    message_id = uuid7()
    first = received(ours.project.id, message_id, b'{"a": 1}')
    second = received(theirs.project.id, message_id, b'{"a": 2}', UUID(int=2))

    assert second.created
    with pytest.raises(MessageNotFound):
        selectors.message(first.message.id, project_id=theirs.project.id)


def test_a_company_belongs_to_the_project_that_used_it_first(ours: Tenant, theirs: Tenant) -> None:
    message_id, body = uuid7(), body_of()
    received(theirs.project.id, message_id, body)

    for attempt in (message_id, uuid7()):
        with pytest.raises(CompanyOfAnotherProject):
            received(ours.project.id, attempt, body)

    assert [row.project_id for row in Company.objects.all()] == [theirs.project.id]
    assert not Message.objects.filter(project_id=ours.project.id).exists()
    assert not Job.objects.filter(kind=KIND, project_id=ours.project.id).exists()
    assert received(theirs.project.id, uuid7(), body).created


def test_a_message_that_is_refused_binds_no_company(ours: Tenant) -> None:
    message_id = uuid7()
    received(ours.project.id, message_id, b"{}")

    with pytest.raises(MessageConflict):
        received(ours.project.id, message_id, b"{ }", UUID(int=2))

    assert [row.company_id for row in Company.objects.all()] == [UUID(int=1)]


def test_companies_of_messages_that_were_there_before_are_bound_by_the_migration(ours: Tenant, theirs: Tenant) -> None:
    mine = [received(ours.project.id, uuid7(), b"{}", UUID(int=number)) for number in (1, 1, 2)]
    received(theirs.project.id, uuid7(), b"{}", UUID(int=3))
    Company.objects.all().delete()

    with connection.cursor() as cursor:
        cursor.execute(import_module("ingestion.migrations.0002_company").BIND)

    assert len(mine) == 3
    assert dict(Company.objects.values_list("company_id", "project_id")) == {
        UUID(int=1): ours.project.id,
        UUID(int=2): ours.project.id,
        UUID(int=3): theirs.project.id,
    }


def test_a_refused_job_leaves_no_message(ours: Tenant) -> None:
    extensions.submit_gates.register("test", lambda _: Refusal("quota_exceeded", "No more today."))
    try:
        with pytest.raises(SubmitRefused), transaction.atomic():
            received(ours.project.id, uuid7(), body_of())
    finally:
        del extensions.submit_gates._things["test"]

    assert not Message.objects.exists()
    assert not Company.objects.exists()
    assert not Job.objects.filter(kind=KIND).exists()


@pytest.mark.parametrize("year", [1, 1969, 9999])
def test_times_of_every_year_come_back(ours: Tenant, year: int) -> None:
    moment = dt.datetime(year, 6, 1, 12, 30, 15, 123456, tzinfo=dt.UTC)
    got = services.receive(
        project_id=ours.project.id, company_id=uuid7(), message_id=uuid7(), message_time=moment, body=b"{}"
    )

    assert selectors.message(got.message.id, project_id=ours.project.id).message_time == moment


# ------------------------------------------------------------------------------------------------ processing
def test_a_message_is_marked_as_stored_exactly_once(receive: Receive) -> None:
    message = receive()
    services.mark_stored(project_id=message.project_id, id_=message.id)
    stored_at = Message.objects.get().stored_at

    with pytest.raises(MessageNotFound):
        services.mark_stored(project_id=message.project_id, id_=message.id)

    assert stored_at is not None
    assert Message.objects.get().stored_at == stored_at


def test_nobody_marks_the_message_of_another_project(receive: Receive) -> None:
    message = receive()

    with pytest.raises(MessageNotFound):
        services.mark_stored(project_id=uuid7(), id_=message.id)

    assert Message.objects.get().stored_at is None


# ------------------------------------------------------------------------------------------------ object storage
def test_the_comparison_moves_only_from_where_it_was_read() -> None:
    services.move_comparison(after="", moved_to="a/b.json")
    services.move_comparison(after="", moved_to="c/d.json")

    assert selectors.compared_up_to() == "a/b.json"


def test_the_end_of_a_pass_is_counted() -> None:
    services.move_comparison(after="", moved_to="a/b.json")
    assert (Comparison.objects.get().passes, Comparison.objects.get().passed_at) == (0, None)

    services.move_comparison(after="a/b.json", moved_to="")

    row = Comparison.objects.get()
    assert (row.after, row.passes) == ("", 1)
    assert row.passed_at == row.moved_at


# ------------------------------------------------------------------------------------------------ dead letters
NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
FIVE = dt.timedelta(minutes=5)


def count(project_id: UUID, *minutes: float, kind: str = "a.b", threshold: int = 3) -> list[int]:
    dead = [DeadLetter(project_id, kind, NOON + dt.timedelta(minutes=minute)) for minute in minutes]
    alarms = services.count_dead_letters(dead, threshold=threshold, window=FIVE, again=FIVE)
    return [alarm.count for alarm in alarms]


def test_an_alarm_is_raised_above_the_threshold_and_not_at_it() -> None:
    assert count(UUID(int=1), 0, 0, 0) == []
    assert count(UUID(int=1), 0) == [4]


def test_only_what_lies_within_the_window_counts() -> None:
    assert count(UUID(int=1), 0, 1, 2) == []
    assert count(UUID(int=1), 6.5) == []
    assert count(UUID(int=1), 7, 7, 7) == [4]


def test_an_alarm_is_not_repeated_before_its_time() -> None:
    assert count(UUID(int=1), 0, 0, 0, 0) == [4]
    assert count(UUID(int=1), 1, 2, 3) == []
    assert count(UUID(int=1), 5.5, 5.5, 5.5) == [6]


def test_kinds_and_projects_are_counted_apart() -> None:
    assert count(UUID(int=1), 0, 0, 0, kind="a.b") == []
    assert count(UUID(int=1), 0, 0, 0, kind="a.c") == []
    assert count(UUID(int=2), 0, 0, 0, kind="a.b") == []
    assert DeadLetterCount.objects.count() == 3


def test_the_alarm_is_an_event_of_the_project_with_a_seq_of_its_own() -> None:
    count(UUID(int=1), 0, 0, 0, 0)
    count(UUID(int=1), 6, 6, 6, 6, threshold=2)

    events = list(Event.objects.filter(type="deadletters.threshold_exceeded").order_by("seq"))
    subject = DeadLetterCount.objects.get().id
    assert [(e.project_id, e.subject_id, e.seq) for e in events] == [
        (UUID(int=1), subject, 1),
        (UUID(int=1), subject, 2),
    ]
    assert events[0].data == {"kind": "a.b", "count": 4, "threshold": 3}


def test_minutes_that_are_past_are_forgotten() -> None:
    for minute in range(100):
        count(UUID(int=1), minute)

    assert len(DeadLetterCount.objects.get().minutes) <= 6


def test_a_status_is_that_of_the_job(receive: Receive) -> None:
    message = receive()
    for status, expected in {
        "processing": MessageStatus.RECEIVED,
        "blocked": MessageStatus.RECEIVED,
        "failed": MessageStatus.FAILED,
        "cancelled": MessageStatus.CANCELLED,
    }.items():
        Job.objects.filter(id=message.id).update(status=status)
        assert selectors.message(message.id, project_id=message.project_id).status is expected
