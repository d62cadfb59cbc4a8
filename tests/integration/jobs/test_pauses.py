"""Pauses: what they name does not start, whoever names it and however it was made; and they end, also by themselves."""

import datetime as dt
from typing import Any
from uuid import UUID

import pytest

from events.log import move_clock
from events.models import AuditRecord
from jobs import pauses, registry, services, shelves
from jobs.errors import InvalidOption, PauseNotFound
from jobs.models import Pause, Shelf
from jobs.services import JobRequest
from tests.contracts.deliveries import PROJECT, Worker
from tests.integration.jobs.booking import booking
from tests.integration.jobs.conftest import JOBS
from tests.integration.projects.conftest import Call, Tenant, call, ours, theirs

__all__ = ["booking", "call", "ours", "theirs"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("booking")]

OTHER = UUID(int=8)
KINDS = ("account.book", "account.note")


def submit(kind: str = "account.book", project_id: UUID = PROJECT) -> UUID:
    return services.submit_many(project_id=project_id, requests=[JobRequest(kind, {})])[0].id


def runnable() -> set[tuple[str, UUID]]:
    """Kinds and projects of the jobs that claims return."""
    found = set()
    for kind in KINDS:
        worker = Worker(registry.get(kind), "one")
        while claimed := worker.claim():
            found |= {(job.kind, job.project_id) for job in claimed}
    return found


def begin(**named: Any) -> Pause:
    return pauses.pause(actor="tests", reason="the provider is down", **named)


@pytest.mark.parametrize("before", [True, False], ids=["what waits", "what comes"])
@pytest.mark.parametrize(
    ("named", "left"),
    [
        ({"project_id": PROJECT}, {("account.book", OTHER), ("account.note", OTHER)}),
        ({"kind": "account.book"}, {("account.note", PROJECT), ("account.note", OTHER)}),
        (
            {"kind": "account.book", "project_id": PROJECT},
            {("account.note", PROJECT), ("account.note", OTHER), ("account.book", OTHER)},
        ),
        ({"queue": "default"}, set()),
        ({"queue": "elsewhere"}, {(kind, project) for kind in KINDS for project in (PROJECT, OTHER)}),
    ],
    ids=["a project", "a kind", "a kind of a project", "a queue", "another queue"],
)
def test_nothing_starts_that_a_pause_names(named: dict[str, Any], left: set[tuple[str, UUID]], *, before: bool) -> None:
    early = None if before else begin(**named)
    for project in (PROJECT, OTHER):
        for kind in KINDS:
            submit(kind, project)
    pause = early or begin(**named)

    assert runnable() == left

    pauses.resume(pause_id=pause.id, project_id=None, actor="tests")
    assert runnable() == {(kind, project) for kind in KINDS for project in (PROJECT, OTHER)} - left


def test_a_pause_ends_by_itself() -> None:
    submit()
    begin(kind="account.book", until=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
    assert not runnable()

    move_clock(dt.timedelta(hours=2))

    assert pauses.apply() == 1
    assert runnable()


def test_a_shelf_is_held_until_the_last_pause_ends() -> None:
    submit()
    one, other = begin(kind="account.book"), begin(project_id=PROJECT)

    pauses.resume(pause_id=one.id, project_id=None, actor="tests")
    assert not runnable()
    pauses.resume(pause_id=other.id, project_id=None, actor="tests")
    assert runnable()


def test_what_was_paused_on_the_shelf_itself_is_no_affair_of_pauses() -> None:
    submit()
    Shelf.objects.update(paused=True)

    pause = begin(kind="account.book")
    pauses.resume(pause_id=pause.id, project_id=None, actor="tests")

    assert Shelf.objects.get().paused


def test_a_job_on_a_new_shelf_of_something_paused_waits() -> None:
    begin(kind="account.book")
    shelves.forget()
    submit()

    assert Shelf.objects.get().paused
    assert not runnable()


@pytest.mark.parametrize(
    ("named", "code"),
    [
        ({}, "pause_names_nothing"),
        ({"kind": "account.book", "reason": "  "}, "reason_required"),
        ({"kind": "account.book", "until": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}, "invalid_option"),
    ],
)
def test_a_pause_that_says_nothing_is_refused(named: dict[str, Any], code: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        pauses.pause(**{"actor": "tests", "reason": "because", **named})

    assert refused.value.code == code
    assert not Pause.objects.exists()


def test_a_pause_of_another_project_is_not_there() -> None:
    pause = begin(project_id=OTHER)

    with pytest.raises(PauseNotFound):
        pauses.resume(pause_id=pause.id, project_id=PROJECT, actor="tests")


def test_both_acts_are_in_the_audit_record() -> None:
    pause = begin(kind="account.book")
    pauses.resume(pause_id=pause.id, project_id=None, actor="ada", reason="it is up")

    records = AuditRecord.objects.filter(subject_type="pause", subject_id=str(pause.id)).order_by("id")
    assert [(record.action, record.actor, record.reason) for record in records] == [
        ("pause.begin", "tests", "the provider is down"),
        ("pause.end", "ada", "it is up"),
    ]


# ------------------------------------------------------------------------------------------------ over HTTP
PAUSES = "/api/v1/pauses"


def test_a_project_pauses_its_own_jobs_and_nobody_elses(call: Call, ours: Tenant, theirs: Tenant) -> None:
    for tenant in (ours, theirs):
        call("POST", JOBS, {"kind": "account.book"}, key=tenant.text)
    begun = call("POST", PAUSES, {"kind": "account.book", "reason": "the provider is down"})

    assert begun.status_code == 201, begun.content
    assert runnable() == {("account.book", theirs.project.id)}
    assert call("GET", PAUSES).json()["results"] == [begun.json()]
    assert call("GET", PAUSES, key=theirs.text).json()["results"] == []
    ended = begun.json()["links"]["end"]
    assert call("POST", ended, key=theirs.text).status_code == 404
    assert call("POST", ended, {"reason": "it is up"}).json() == {"id": begun.json()["id"]}
    assert call("POST", ended).json()["code"] == "pause_not_found"
    assert runnable() == {("account.book", ours.project.id)}


def test_a_job_that_is_paused_says_why_and_until_when(call: Call) -> None:
    job = call("POST", JOBS, {"kind": "account.book"}).json()["id"]
    call("POST", PAUSES, {"reason": "the provider is down", "until": "2100-01-01T00:00:00Z"})

    found = call("GET", f"{JOBS}/{job}/explain").json()

    assert found["code"] == "paused"
    assert found["detail"].endswith("paused for this project until 2100-01-01T00:00:00+00:00: the provider is down")
    assert found["facts"]["paused_until"] == "2100-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "account.book"}, "/reason"),
        ({"reason": ""}, "/reason"),
        ({"reason": "x", "until": "2020-01-01T00:00:00Z"}, "/until"),
        ({"reason": "x", "until": "tomorrow"}, "/until"),
        ({"reason": "x", "project_id": str(OTHER)}, "/project_id"),
    ],
)
def test_a_pause_that_does_not_fit_says_where(call: Call, body: dict[str, Any], field: str) -> None:
    answer = call("POST", PAUSES, body)

    assert answer.status_code == 422, answer.content
    assert answer.json()["errors"][0]["field"] == field
    assert not Pause.objects.exists()


def test_a_process_that_does_not_know_a_kind_leaves_the_pause_of_its_queue_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a relay of an older version does while a newer one is rolled out."""
    submit("account.book")
    begin(queue="default")
    older = {name: kind for name, kind in registry._kinds.items() if name != "account.book"}

    with monkeypatch.context() as patch:
        patch.setattr(registry, "_kinds", older)
        pauses.apply()
    assert runnable() == set()

    pauses.resume(pause_id=Pause.objects.get().id, project_id=None, actor="tests")
    assert runnable() == {("account.book", PROJECT)}


def test_a_project_has_only_so_many_pauses_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "MOST", 2)
    begin(project_id=PROJECT, kind="account.book")
    begin(project_id=PROJECT, kind="account.note")

    with pytest.raises(InvalidOption) as refused:
        begin(project_id=PROJECT, queue="default")
    assert refused.value.code == "too_many_pauses"
    begin(project_id=OTHER, queue="default")
    begin(queue="default")
