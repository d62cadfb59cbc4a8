"""The inbox: whose an intervention is, what is said about it, and decisions that two persons take."""

import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.utils.html import escape
from pydantic import BaseModel
from uuid_utils.compat import uuid7

from events.models import AuditRecord
from jobplatform.admin.people import set_up_groups
from jobs import Done, Retry, Run, Unique, bulk, handler, inbox, interventions, registry, services, shelves
from jobs.errors import (
    AlreadyResolved,
    InvalidOption,
    JobsError,
    NoProposal,
    ProposalWaits,
    SamePerson,
    SecondPersonRequired,
)
from jobs.extensions import Decision
from jobs.models import Intervention, Job
from jobs.services import JobRequest
from projects import services as projects
from projects.models import Project
from tests.contracts.deliveries import Worker

ADA, BOB = "user:ada", "user:bob"


class Wire(BaseModel):
    """Money."""

    cents: int = 0


@pytest.fixture(autouse=True)
def _kinds(committed_alone: None) -> Iterator[None]:
    before = dict(registry._kinds)

    def refuse(_job: Run[Wire]) -> Done:
        message = "the bank says no"
        raise RuntimeError(message)

    asking = Retry(max_attempts=1, ask_human=True)
    handler("wire.send", payload=Wire, retry=asking, lane="cents", second_person=True)(refuse)
    handler("wire.note", payload=Wire, retry=asking)(refuse)
    handler("wire.once", payload=Wire, retry=Retry(max_attempts=1), unique=Unique(("cents",)))(refuse)
    shelves.forget()
    yield
    shelves.forget()
    registry._kinds.clear()
    registry._kinds.update(before)


@pytest.fixture
def project() -> Project:
    return projects.create_project(name="Bank", actor="system")


@pytest.fixture
def asked(project: Project) -> Callable[..., Intervention]:
    """Something that waits for a decision, about a job of a kind."""

    def ask(kind: str = "wire.send", cents: int = 5) -> Intervention:
        job = services.submit_many(project_id=project.id, requests=[JobRequest(kind, {"cents": cents})])[0]
        worker = Worker(registry.get(kind), "one")
        worker.run(worker.claim())
        return Intervention.objects.get(subject_id=str(job.id), resolved_at=None)

    return ask


Asked = Callable[..., Intervention]


def status(row: Intervention) -> str:
    return Job.objects.get(id=row.subject_id).status


def proposal(row: Intervention) -> str:
    row.refresh_from_db()
    assert row.proposal is not None
    return str(row.proposal["id"])


def acts() -> list[tuple[str, str]]:
    return list(AuditRecord.objects.filter(subject_type="intervention").order_by("id").values_list("action", "actor"))


# ---------------------------------------------------------------------------------------------- two persons


def test_what_one_proposes_another_one_approves_and_then_it_is_done(asked: Asked) -> None:
    row = asked()
    behind = services.submit_many(project_id=row.project_id, requests=[JobRequest("wire.send", {"cents": 5})])[0]  # type: ignore[arg-type]
    inbox.propose(row, Decision("supply", ADA, "the bank has it", output={"reference": 7}))
    assert status(row) == "blocked"

    with pytest.raises(SamePerson):
        inbox.approve(row, proposal(row), actor=ADA)
    done = inbox.approve(row, proposal(row), actor=BOB, reason="I have seen it")

    assert (status(row), done.resolved_by, done.approved_by, done.action) == ("processed", ADA, BOB, "supply")
    assert Job.objects.get(id=row.subject_id).output == {"reference": 7}
    assert Job.objects.get(id=behind.id).gate == 0, "the next of the lane goes on"
    assert acts() == [("intervention.propose", ADA), ("intervention.approve", BOB)]


@pytest.mark.parametrize("action", ["retry", "resume", "skip"])
def test_nobody_decides_alone_by_any_way(asked: Asked, action: str) -> None:
    row = asked()
    assert row.project_id is not None
    job: Any = {"project_id": row.project_id, "job_id": UUID(row.subject_id)}

    with pytest.raises(SecondPersonRequired):
        interventions.resolve(row, Decision(action, ADA, "now"))
    with pytest.raises(SecondPersonRequired):
        services.cancel(**job, actor=ADA)
    with pytest.raises(SecondPersonRequired):
        services.retry(**job, actor=ADA)
    with pytest.raises(SecondPersonRequired):
        services.retry(**job, actor=ADA, payload={"cents": 5})
    with pytest.raises(SecondPersonRequired):
        interventions.resume(**job, actor=ADA)
    for verb in ("cancel", "retry"):
        act = bulk.begin(
            project_id=row.project_id, verb=verb, stored={"kind": "wire.send"}, actor=ADA, reason="all of them"
        )
        while bulk.step(act.id).status == "running":
            pass
        assert (bulk.get(row.project_id, act.id).done, bulk.get(row.project_id, act.id).skipped) == (0, 1)
    assert status(row) == "blocked"


def test_one_decides_alone_where_the_kind_does_not_say_otherwise(asked: Asked) -> None:
    row = asked("wire.note")
    assert not interventions.wants_second(row)
    interventions.resolve(row, Decision("skip", ADA, "not needed"))
    assert status(row) == "cancelled"


def test_a_declined_proposal_makes_room_for_another(asked: Asked) -> None:
    row = asked()
    inbox.propose(row, Decision("skip", ADA, "not needed"))
    first = proposal(row)
    with pytest.raises(ProposalWaits):
        inbox.propose(row, Decision("retry", BOB, "once more"))
    with pytest.raises(InvalidOption):
        inbox.decline(row, first, actor=BOB, reason=" ")
    inbox.decline(row, first, actor=BOB, reason="it is needed")
    inbox.propose(row, Decision("retry", BOB, "once more"))

    with pytest.raises(NoProposal):
        inbox.approve(row, first, actor=BOB)
    inbox.approve(row, proposal(row), actor=ADA)
    assert status(row) == "queued"
    with pytest.raises(AlreadyResolved):
        inbox.approve(row, proposal_of_none(), actor=ADA)


def proposal_of_none() -> str:
    return str(uuid7())


def test_what_could_not_be_done_is_not_proposed(asked: Asked) -> None:
    row = asked()
    for decision in (
        Decision("supply", ADA, "it is done"),
        Decision("edit_and_retry", ADA, "better", payload={"cents": "many"}),
        Decision("fly", ADA, "away"),
        Decision("skip", ADA, " "),
    ):
        with pytest.raises(JobsError):
            inbox.propose(row, decision)
    row.refresh_from_db()
    assert row.proposal is None
    assert acts() == []


# ---------------------------------------------------------------------------------------------- races of two operators


def together(*calls: Callable[[], object]) -> list[object]:
    """What comes of calls that begin at the same moment, each from a connection of its own: its result, or its error."""
    ready = threading.Barrier(len(calls))
    found: list[object] = [None] * len(calls)

    def run(place: int) -> None:
        try:
            connection.ensure_connection()
            ready.wait(20)
            found[place] = calls[place]()
        except JobsError as error:
            found[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def again(row: Intervention) -> Intervention:
    return Intervention.objects.get(id=row.id)


@pytest.mark.parametrize("round_", range(5))
def test_of_two_operators_who_decide_at_once_one_does(asked: Asked, round_: int) -> None:
    row = asked("wire.note", round_)
    found = together(
        lambda: interventions.resolve(again(row), Decision("skip", ADA, "not needed")),
        lambda: interventions.resolve(again(row), Decision("retry", BOB, "once more")),
    )
    errors = [one for one in found if isinstance(one, JobsError)]
    assert [type(error) for error in errors] == [AlreadyResolved]
    decided = again(row)
    assert (status(row), decided.resolved_by) in {("cancelled", ADA), ("queued", BOB)}
    done = AuditRecord.objects.filter(subject_type="job", subject_id=row.subject_id).values_list("actor", flat=True)
    assert list(done) == [decided.resolved_by]


@pytest.mark.parametrize("round_", range(5))
def test_a_proposal_is_approved_once_or_declined_once(asked: Asked, round_: int) -> None:
    row = asked("wire.send", round_)
    inbox.propose(row, Decision("supply", ADA, "the bank has it", output={"reference": 7}))
    key = proposal(row)
    found = together(
        lambda: inbox.approve(again(row), key, actor=BOB),
        lambda: inbox.approve(again(row), key, actor="user:eve"),
        lambda: inbox.decline(again(row), key, actor=ADA, reason="a mistake"),
    )
    errors = [one for one in found if isinstance(one, JobsError)]
    assert len(errors) == 2
    assert {type(error) for error in errors} <= {AlreadyResolved, NoProposal}
    decided = again(row)
    declined = not isinstance(found[2], JobsError)
    assert status(row) == ("blocked" if declined else "processed")
    assert (decided.resolved_at is None) == declined
    assert decided.proposal is None
    assert decided.approved_by in ({""} if declined else {BOB, "user:eve"})
    assert len(acts()) == 2


@pytest.mark.parametrize("round_", range(3))
def test_of_two_who_propose_at_once_one_does(asked: Asked, round_: int) -> None:
    row = asked("wire.send", round_)
    found = together(
        lambda: inbox.propose(again(row), Decision("skip", ADA, "not needed")),
        lambda: inbox.propose(again(row), Decision("retry", BOB, "once more")),
    )
    assert [type(one) for one in found if isinstance(one, JobsError)] == [ProposalWaits]
    assert again(row).proposal is not None


# ---------------------------------------------------------------------------------------------- over HTTP


def key(project: Project) -> Callable[..., Any]:
    """A client with a key of its own, so an actor of its own."""
    scopes = {"interventions:read", "interventions:write", "jobs:write"}
    issued = projects.issue_key(project_id=project.id, name="one", scopes_asked=scopes, actor="system")

    def call(path: str, body: Any = None) -> Any:
        client, headers = Client(raise_request_exception=False), {"Authorization": f"Bearer {issued.text}"}
        if body is None:
            return client.get(f"/api/v1/{path}", headers=headers)
        return client.post(f"/api/v1/{path}", body, content_type="application/json", headers=headers)

    return call


def test_two_keys_decide_over_http(asked: Asked, project: Project) -> None:
    row, one, other = asked(), key(project), key(project)
    path = f"interventions/{row.id}"
    assert one(path).json()["needs_second_person"] is True

    proposed = one(f"{path}/resolve", {"action": "skip", "reason": "not needed"})
    assert proposed.status_code == 202
    (listed,) = one("interventions?state=open").json()["results"]
    assert listed["proposal"]["action"] == "skip"
    word = {"proposal": listed["proposal"]["id"], "reason": "I have checked"}
    assert one(f"{path}/approve", word).json()["code"] == "same_person"
    assert other(f"{path}/approve", {**word, "proposal": str(uuid7())}).json()["code"] == "no_proposal"
    assert other(f"{path}/decline", {"proposal": word["proposal"]}).json()["code"] == "reason_required"
    assert one(f"jobs/{row.subject_id}/cancel", {}).json()["code"] == "second_person_required"
    done = other(f"{path}/approve", word)
    assert (done.status_code, done.json()["action"]) == (200, "skip")
    assert status(row) == "cancelled"
    assert other(f"{path}/approve", word).json()["code"] == "already_resolved"


def test_an_intervention_is_assigned_and_talked_about_over_http(asked: Asked, project: Project) -> None:
    row, call = asked(), key(project)
    path = f"interventions/{row.id}"
    assert call(f"{path}/assign", {"to": "ada"}).json()["assigned_to"] == "ada"
    assert len(call("interventions?assigned_to=ada").json()["results"]) == 1
    assert call("interventions?assigned_to=bob").json()["results"] == []
    assert call(f"{path}/assign", {"to": ""}).json()["assigned_to"] == ""
    assert call(f"{path}/assign", {"to": "a\nb"}).status_code == 422
    assert call(f"{path}/assign", {}).status_code == 422

    said = call(f"{path}/comments", {"text": "the bank calls back"})
    assert said.status_code == 201
    assert [one["text"] for one in call(f"{path}/comments").json()["results"]] == ["the bank calls back"]
    for text in ("", " ", "x" * 2001, "a\0b", 7):
        assert call(f"{path}/comments", {"text": text}).status_code in {400, 422}, text


# ---------------------------------------------------------------------------------------------- in the admin


def come(name: str, group: str = "operators") -> Client:
    set_up_groups()
    user = User.objects.create_user(name, is_staff=True)
    user.groups.set([Group.objects.get(name=group)])
    client = Client()
    client.force_login(user)
    return client


def page(client: Client, row: Intervention) -> str:
    answer = client.get(f"/admin/jobs/intervention/{row.id}/change/")
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_two_people_decide_in_the_admin(asked: Asked) -> None:
    row = asked()
    ada, bob, eve = come("ada"), come("bob"), come("eve", "viewers")
    root = f"/admin/jobs/intervention/{row.id}"

    assert f"{root}/decide/skip/" in page(ada, row)
    form = ada.get(f"{root}/decide/skip/").content.decode()
    assert "somebody else must approve it" in form
    assert "cancelled" in form, "the look ahead"
    ada.post(f"{root}/decide/skip/", {"reason": "not needed"})
    address = f"{root}/approve/?proposal={proposal(row)}"
    assert address in page(bob, row).replace("&amp;", "&")
    assert "Approve</a>" not in page(eve, row)
    assert eve.post(address, {"reason": ""}).status_code == 403
    ada.post(address, {"reason": ""})
    assert status(row) == "blocked"
    bob.post(f"{root}/comment/", {"text": "<b>I have called</b>"})
    assert escape("<b>I have called</b>") in page(ada, row)
    bob.post(f"{root}/assign/", {"to": "bob"})
    listed = bob.get("/admin/jobs/intervention/?assigned=me").content.decode()
    assert str(row.id) in listed
    assert str(row.id) not in ada.get("/admin/jobs/intervention/?assigned=me").content.decode()

    bob.post(address, {"reason": ""})
    assert status(row) == "cancelled"
    assert "approved by user:bob" in page(ada, row)
    assert bob.get(f"/admin/jobs/intervention/{uuid7()}/approve/").status_code == 404


def test_the_page_of_the_job_sends_to_the_intervention(asked: Asked) -> None:
    row, ada = asked(), come("ada")
    answer = ada.post(f"/admin/jobs/job/{row.subject_id}/retry/", {"reason": "once more"}, follow=True)
    assert answer.redirect_chain == [(f"/admin/jobs/intervention/{row.id}/change/", 302)]
    assert "wants a second person" in answer.content.decode()
    assert status(row) == "blocked"


def test_why_an_act_was_refused_is_shown_on_a_page_that_has_an_error_of_its_own(project: Project) -> None:
    def submit() -> UUID:
        return services.submit_many(project_id=project.id, requests=[JobRequest("wire.once", {"cents": 1})])[0].id

    job, worker = submit(), Worker(registry.get("wire.once"), "one")
    worker.run(worker.claim())
    submit()
    answer = come("ada").post(f"/admin/jobs/job/{job}/retry/", {"reason": "once more"}, follow=True)
    assert "unique key" in answer.content.decode()
