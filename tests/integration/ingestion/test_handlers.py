"""Processing and reconciliation, by the engine's own steps on a real database and a real directory (T52)."""

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models.expressions import RawSQL
from uuid_utils.compat import uuid7

from events.models import AuditRecord, Event
from ingestion import gateway, selectors
from ingestion.handlers import reconcile_messages
from ingestion.models import Company, Comparison, Message
from ingestion.selectors import PROCESSED_WITHOUT_OBJECT, WITHOUT_JOB, KnownMessage
from ingestion.states import MessageStatus
from jobs import services as jobs
from jobs.models import Attempt, Job
from jobs.outcomes import Done
from jobs.states import PLATFORM
from jobs.testing import run_once
from tests.integration.ingestion.conftest import claim

pytestmark = pytest.mark.django_db

Receive = Callable[..., KnownMessage]
Work = Callable[[], dict[str, int]]
Later = Callable[[float], None]


def fresh(message: KnownMessage) -> KnownMessage:
    return selectors.message(message.id, project_id=message.project_id)


def body(message: KnownMessage) -> bytes:
    return bytes(Message.objects.get(id=message.id).body)


def attempts(message: KnownMessage) -> list[str]:
    return list(Attempt.objects.filter(job_id=message.id).order_by("claim_no").values_list("outcome", flat=True))


@pytest.fixture
def blocked(storage: Path) -> Callable[[KnownMessage], Path]:
    """Put a file where the folder of a message's company has to be: storage fails for it until the file is gone."""

    def block(message: KnownMessage) -> Path:
        storage.mkdir(exist_ok=True)
        obstacle = storage / str(message.company_id)
        obstacle.write_bytes(b"in the way")
        return obstacle

    return block


# ------------------------------------------------------------------------------------------------ processing
def test_the_original_is_stored_byte_for_byte_and_the_message_processed(
    receive: Receive, work: Work, storage: Path
) -> None:
    message = receive()

    assert work() == {"done": 1}

    after = fresh(message)
    job = Job.objects.get(id=message.id)
    assert (storage / message.object_key).read_bytes() == body(message)
    assert (after.status, after.trouble) == (MessageStatus.PROCESSED, None)
    assert after.stored_at is not None
    assert job.output == {"key": message.object_key, "bytes": message.size, "sha256": message.body_sha256.hex()}
    assert [e.type for e in Event.objects.filter(subject_id=job.id).order_by("seq")] == ["job.queued", "job.processed"]


def test_messages_are_claimed_one_at_a_time() -> None:
    from ingestion.handlers import process_message

    assert process_message.batch.max == 1
    assert process_message.retry.max_attempts == 3


def test_a_failure_is_retried_twice_and_then_a_dead_letter(
    receive: Receive, work: Work, later: Later, blocked: Callable[[KnownMessage], Path]
) -> None:
    message = receive()
    blocked(message)

    for expected in ("retried", "retried", "failed"):
        assert work() == {expected: 1}
        later(30)

    after = fresh(message)
    assert work() == {}
    assert attempts(message) == ["retried", "retried", "failed"]
    assert after.status is MessageStatus.FAILED
    assert after.trouble is not None
    assert after.trouble["code"] == "storage_unavailable"
    assert after.error is None, "what may pass is no permanent error of the message"


def test_a_message_whose_storage_fails_twice_is_processed_at_the_third_attempt(
    receive: Receive, work: Work, later: Later, blocked: Callable[[KnownMessage], Path]
) -> None:
    message = receive()
    obstacle = blocked(message)
    for _ in range(2):
        work()
        later(30)
    obstacle.unlink()

    assert work() == {"done": 1}

    assert attempts(message) == ["retried", "retried", "done"]
    assert (fresh(message).status, fresh(message).trouble) == (MessageStatus.PROCESSED, None)


def test_an_object_with_other_content_is_a_permanent_error_and_stays(
    receive: Receive, work: Work, storage: Path
) -> None:
    message = receive()
    (storage / message.object_key).parent.mkdir(parents=True)
    (storage / message.object_key).write_bytes(b"{}")

    assert work() == {"rejected": 1}

    after = fresh(message)
    assert (storage / message.object_key).read_bytes() == b"{}"
    assert attempts(message) == ["rejected"]
    assert after.status is MessageStatus.REJECTED
    assert after.trouble is not None
    assert after.trouble["code"] == "object_conflict"
    assert Message.objects.get().error == after.trouble, "it is written on the message"


def test_a_body_that_is_no_longer_what_was_received_is_a_permanent_error(
    receive: Receive, work: Work, storage: Path
) -> None:
    message = receive()
    Message.objects.filter(id=message.id).update(body=b'{"other": 1}')

    assert work() == {"rejected": 1}

    assert fresh(message).trouble == {
        "code": "body_corrupt",
        "message": "The kept body is no longer the one that was received: its SHA-256 differs.",
    }
    assert not (storage / message.object_key).exists()


def test_a_job_whose_message_is_gone_is_rejected(receive: Receive, work: Work, storage: Path) -> None:
    message = receive()
    Message.objects.all().delete()

    assert work() == {"rejected": 1}

    error = Job.objects.get(id=message.id).error
    assert error is not None
    assert error["code"] == "message_not_found"


def test_a_redriven_message_is_processed_and_its_error_forgotten(receive: Receive, work: Work, storage: Path) -> None:
    message = receive()
    (storage / message.object_key).parent.mkdir(parents=True)
    (storage / message.object_key).write_bytes(b"{}")
    work()
    (storage / message.object_key).unlink()

    jobs.retry(project_id=message.project_id, job_id=message.id, actor="system")
    between = fresh(message)
    assert work() == {"done": 1}

    assert (between.status, between.trouble) == (MessageStatus.RECEIVED, None)
    assert (fresh(message).status, Message.objects.get().error) == (MessageStatus.PROCESSED, None)


# ------------------------------------------------------------------------------------------------ twice, and crashes
def test_delivered_twice_it_takes_effect_once(receive: Receive, storage: Path) -> None:
    """The contract of every handler: a second run of the same job, or of its message, changes nothing."""
    message = receive()
    first = claim()
    (job,) = first.waiting
    first.next()
    Job.objects.filter(id=message.id).update(status="queued", claimed_by=None)  # the rescue of a worker that slept
    second = claim()

    from jobs.runner import _perform

    early, late = _perform(second, second.next() or job)[0], _perform(first, job)[0]
    second.finish(second.running[job.id][0], early, None)
    stored_at = fresh(message).stored_at
    first.finish(job, late, None)

    assert (second.outbox.counts, first.outbox.counts) == ({"done": 1}, {"late": 1})
    assert fresh(message).stored_at == stored_at is not None
    assert attempts(message) == ["done"]
    first.pen.release()
    second.pen.release()


def test_an_object_stored_before_the_crash_is_taken_for_what_it_is(receive: Receive, work: Work, storage: Path) -> None:
    """T52: the object is stored, the commit is not. The next attempt finds it and is done."""
    message = receive()
    shift = claim()
    from jobs.runner import _perform

    outcome, error = _perform(shift, shift.next() or pytest.fail("nothing was due"))
    shift.pen.release()
    assert (type(outcome), error) == (Done, None)
    assert (storage / message.object_key).exists()
    assert fresh(message).stored_at is None
    written = (storage / message.object_key).stat().st_mtime_ns
    Job.objects.filter(id=message.id).update(status="queued", claimed_by=None)  # rescued

    assert work() == {"done": 1}

    assert fresh(message).status is MessageStatus.PROCESSED
    assert (storage / message.object_key).stat().st_mtime_ns == written
    assert [path for path in storage.rglob("*") if path.is_file()] == [storage / message.object_key]


def test_a_commit_that_fails_leaves_the_message_unprocessed_and_is_retried(
    receive: Receive, work: Work, later: Later, storage: Path
) -> None:
    """T52: the object is stored, and the database refuses what belongs to it."""
    message = receive()
    with connection.cursor() as cursor:
        cursor.execute("alter table ingestion_message add constraint no_more check (stored_at is null) not valid")
        assert work() == {"retried": 1}, "the commit was undone, and its error is the outcome"
        assert fresh(message).stored_at is None
        cursor.execute("alter table ingestion_message drop constraint no_more")
    assert attempts(message) == ["retried"]
    later(30)

    assert work() == {"done": 1}

    assert fresh(message).status is MessageStatus.PROCESSED


# ------------------------------------------------------------------------------------------------ reconciliation
OLD = 3600.0


def age(path: Path, seconds: float = OLD) -> None:
    """Let a file be as old as that."""
    now = dt.datetime.now(dt.UTC).timestamp()
    os.utime(path, (now - seconds, now - seconds))


def age_all() -> None:
    """Let every stored message be an hour old."""
    hour_ago = RawSQL("clock_timestamp() - interval '1 hour'", ())
    Message.objects.filter(stored_at__isnull=False).update(stored_at=hour_ago)


def reconcile(**payload: Any) -> dict[str, Any]:
    """Run the handler once, and its commit; returns what it found, without zeros."""
    outcome = run_once(reconcile_messages, payload, project_id=PLATFORM)
    assert isinstance(outcome, Done)
    assert outcome.within is not None
    outcome.within()
    return {name: value for name, value in outcome.output.items() if value}


def orphan(storage: Path, content: bytes = b"{}") -> Path:
    """An old object that belongs to no message."""
    path = storage / gateway_key()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    age(path)
    return path


def gateway_key() -> str:
    return f"{uuid7()}/{uuid7()}.json"


def test_where_all_is_well_nothing_is_done(receive: Receive, work: Work, storage: Path) -> None:
    for _ in range(3):
        receive()
        work()
    age_all()

    assert reconcile() == {"compared": 3, "complete": True}
    assert not AuditRecord.objects.filter(actor="system", action__startswith="message").exists()


def test_an_object_that_was_lost_is_written_again(receive: Receive, work: Work, storage: Path) -> None:
    message = receive()
    work()
    age_all()
    (storage / message.object_key).unlink()

    assert reconcile() == {"compared": 1, "restored": 1, "complete": True}

    assert gateway.get(message.object_key) == body(message)
    record = AuditRecord.objects.get(action="message.restore")
    assert (record.project_id, record.subject_id, record.actor) == (message.project_id, str(message.id), "system")
    assert reconcile() == {"compared": 1, "complete": True}


def test_an_object_without_a_message_is_moved_aside_and_never_deleted(storage: Path) -> None:
    path = orphan(storage, b'{"some": "thing"}')
    key = str(path.relative_to(storage))

    assert reconcile() == {"compared": 1, "set_aside": 1, "complete": True}

    record = AuditRecord.objects.get(action="object.set_aside")
    assert not path.exists()
    assert gateway.get(record.data["moved_to"]) == b'{"some": "thing"}'
    assert (record.subject_id, record.data["moved_to"].startswith("orphaned/")) == (key, True)
    assert reconcile() == {"complete": True}


def test_what_is_young_is_left_alone(receive: Receive, work: Work, storage: Path) -> None:
    path = orphan(storage)
    age(path, 60)
    message = receive()
    work()
    (storage / message.object_key).unlink()

    assert reconcile(grace_seconds=600) == {"compared": 2, "complete": True}
    assert reconcile(grace_seconds=0) == {"compared": 2, "restored": 1, "set_aside": 1, "complete": True}


def test_the_virtual_clock_rules_the_grace(receive: Receive, work: Work, later: Later, storage: Path) -> None:
    message = receive()
    work()
    (storage / message.object_key).unlink()
    assert "restored" not in reconcile()

    later(3600)

    assert reconcile()["restored"] == 1


def test_an_object_of_a_message_that_is_not_processed_is_no_orphan(receive: Receive, work: Work, storage: Path) -> None:
    """T52: stored, then failed for good. A redrive will find it."""
    message = receive()
    path = storage / message.object_key
    path.parent.mkdir(parents=True)
    path.write_bytes(body(message))
    age(path)
    Job.objects.filter(id=message.id).update(status="failed")

    assert reconcile() == {"compared": 1, "complete": True}
    assert path.exists()


def test_a_message_that_failed_is_not_written_by_the_way(receive: Receive, storage: Path) -> None:
    message = receive()
    Job.objects.filter(id=message.id).update(status="failed")

    assert reconcile() == {"compared": 1, "complete": True}
    assert not (storage / message.object_key).exists()


def test_an_object_that_differs_is_reported_and_left(receive: Receive, work: Work, storage: Path) -> None:
    message = receive()
    work()
    age_all()
    (storage / message.object_key).write_bytes(b"{}")

    assert reconcile() == {"compared": 1, "differing": 1, "complete": True}
    assert gateway.get(message.object_key) == b"{}"


def test_what_cannot_be_restored_is_reported(receive: Receive, work: Work, storage: Path) -> None:
    message = receive()
    work()
    age_all()
    (storage / message.object_key).unlink()
    Message.objects.update(body=b"[]")

    assert reconcile() == {"compared": 1, "lost": 1, "complete": True}
    assert not (storage / message.object_key).exists()


def test_too_many_orphans_look_like_the_wrong_storage_and_none_is_moved(
    receive: Receive, work: Work, storage: Path
) -> None:
    receive()
    work()
    paths = [orphan(storage) for _ in range(6)]

    assert reconcile(most_orphans=5) == {"compared": 7, "left": 6, "complete": True}
    assert all(path.exists() for path in paths)
    assert reconcile(most_orphans=6) == {"compared": 7, "set_aside": 6, "complete": True}


def test_a_run_does_a_bounded_part_and_the_next_goes_on(receive: Receive, work: Work, storage: Path) -> None:
    messages = [receive() for _ in range(7)]
    work()
    age_all()
    orphans = [orphan(storage) for _ in range(4)]
    for message in messages[::2]:
        (storage / message.object_key).unlink()

    totals: dict[str, int] = {}
    runs = 0
    while True:
        runs += 1
        found = reconcile(size=3, most_orphans=100)
        totals = {name: totals.get(name, 0) + found.get(name, 0) for name in ("compared", "restored", "set_aside")}
        assert found["compared"] <= 6
        if found.get("complete"):
            break
        assert Comparison.objects.get().after

    assert runs >= 3
    assert totals == {"compared": 11, "restored": 4, "set_aside": 4}
    assert not any(path.exists() for path in orphans)
    assert Comparison.objects.get().passes == 1
    assert reconcile() == {"compared": 7, "complete": True}


def test_a_pass_over_rows_alone_ends_too(receive: Receive, work: Work, storage: Path) -> None:
    messages = [receive() for _ in range(5)]
    work()
    age_all()
    for message in messages:
        (storage / message.object_key).unlink()

    found = [reconcile(size=2) for _ in range(3)]

    assert [each["restored"] for each in found] == [2, 2, 1]
    assert [each.get("complete") for each in found] == [None, None, True]


def test_an_object_that_two_projects_share_belongs_to_both(
    receive: Receive, work: Work, storage: Path, theirs: Any
) -> None:
    message = receive()
    Company.objects.all().delete()  # as before a company had one project
    other = receive(message_id=message.message_id, company_id=message.company_id, project_id=theirs.project.id)
    assert work() == {"done": 2}, "the bytes are the same"
    age_all()

    assert reconcile() == {"compared": 1, "complete": True}
    (storage / message.object_key).unlink()
    assert reconcile()["restored"] == 1
    assert gateway.get(other.object_key) == body(other)


def test_drafts_of_interrupted_writes_are_removed(storage: Path) -> None:
    draft = storage / ".incoming" / "tmp123"
    draft.parent.mkdir(parents=True)
    draft.write_bytes(b"half")
    age(draft)

    assert reconcile() == {"leftovers": 1, "complete": True}
    assert not draft.exists()


def test_the_schedule_names_a_kind_that_exists_and_a_payload_that_fits() -> None:
    from ingestion.schedule import SCHEDULES
    from jobs import registry

    for item in SCHEDULES:
        registry.get(item.kind).payload.model_validate(item.payload)


# ------------------------------------------------------------------------------------------------ invariants
def rows(statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def test_the_invariants_hold_for_messages_in_every_status(
    receive: Receive, work: Work, storage: Path, blocked: Callable[[KnownMessage], Path]
) -> None:
    receive()
    work()
    blocked(receive())
    work()
    receive()

    assert rows(WITHOUT_JOB) == []
    assert rows(PROCESSED_WITHOUT_OBJECT) == []


def test_the_invariants_find_what_breaks_them(receive: Receive, work: Work, storage: Path) -> None:
    first, second = receive(), receive()
    work()
    Message.objects.filter(id=first.id).update(stored_at=None)
    Message.objects.filter(id=second.id).update(stored_at=None)
    Job.objects.filter(id=second.id).delete()

    assert [row[0] for row in rows(PROCESSED_WITHOUT_OBJECT)] == [first.id]
    assert [row[0] for row in rows(WITHOUT_JOB)] == [second.id]
