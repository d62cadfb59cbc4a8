"""Dead letters and reconciliations over HTTP: what one asks for, what is refused, and whose they are."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from projects import services as project_services
from reconciliation.models import Redrive
from tests.integration.projects.conftest import Call, Tenant, call, make_tenant
from tests.integration.reconciliation.conftest import Shop, payments, shop

__all__ = ["call", "payments", "shop"]

PLANS = "/api/v1/reconciliations"
LETTERS = "/api/v1/dead-letters"


@pytest.fixture
def ours(shop: Shop) -> Tenant:
    return make_tenant("Ours")


@pytest.fixture
def theirs(shop: Shop) -> Tenant:
    return make_tenant("Theirs")


def begin(call: Call, key: str, **ask: Any) -> Any:
    answer = call("POST", PLANS, {"errors_allowed_to_retry": ["provider_down"], **ask}, key=key)
    assert answer.status_code == 202, answer.content
    return answer.json()


def test_from_the_cause_to_the_report(shop: Shop, call: Call, ours: Tenant) -> None:
    ids = shop.dead(3, project_id=ours.project.id)

    (cause,) = call("GET", LETTERS).json()["results"]
    assert (cause["code"], cause["dead"], cause["kinds"]) == ("provider_down", 3, {"payment.make": 3})
    assert call("GET", cause["links"]["self"]).json() == cause
    assert {job["id"] for job in call("GET", cause["links"]["jobs"]).json()["results"]} == {str(one) for one in ids}
    assert call("GET", cause["links"]["sample"]).json()["error"]["fingerprint"] == cause["fingerprint"]
    dry = call("POST", PLANS, {"errors_allowed_to_retry": [cause["fingerprint"]], "dry_run": True})
    assert dry.status_code == 200
    assert (dry.json()["matched"], dry.json()["more"], len(dry.json()["samples"])) == (3, False, 3)
    assert Redrive.objects.count() == 0

    made = call("POST", PLANS, {"errors_allowed_to_retry": ["provider_down"], "reason": "up again", "start": False})
    plan = made.json()
    assert (made.status_code, made["Location"], plan["status"]) == (202, plan["links"]["self"], "freezing")
    shop.drive(Redrive.objects.get())
    assert call("GET", plan["links"]["self"]).json()["status"] == "ready"
    started = call("POST", plan["links"]["start"], {"reason": "now"}).json()
    assert started["status"] == "running"
    shop.up = True
    shop.drive(Redrive.objects.get())
    shop.work()
    shop.drive(Redrive.objects.get())

    report = call("GET", plan["links"]["self"]).json()
    assert {name: report[name] for name in ("status", "frozen", "redriven", "recovered", "failed", "skipped")} == {
        "status": "done", "frozen": 3, "redriven": 3, "recovered": 3, "failed": 0, "skipped": 0,
    }  # fmt: skip
    jobs = call("GET", f"{plan['links']['jobs']}?state=recovered").json()["results"]
    assert [job["job_id"] for job in jobs] == [str(one) for one in ids]
    assert call("GET", PLANS).json()["results"] == [report]
    assert call("GET", f"{PLANS}?status=running").json()["results"] == []
    shop.count()
    assert call("GET", LETTERS).json()["results"] == []
    assert call("GET", cause["links"]["self"]).json()["code"] == "cause_not_found"


@pytest.mark.parametrize(
    ("ask", "status", "code"),
    [
        ({}, 422, "empty_filter"),
        ({"errors_allowed_to_retry": []}, 422, "empty_filter"),
        ({"errors_allowed_to_retry": ["x"], "canary": 5}, 422, "invalid_reconciliation"),
        ({"errors_allowed_to_retry": "x"}, 422, "validation_error"),
        ({"errors_allowed_to_retry": ["x"], "pace": 0}, 422, "validation_error"),
        ({"errors_allowed_to_retry": ["x"], "stop_above": 101}, 422, "validation_error"),
        ({"errors_allowed_to_retry": ["x"], "stage": "other"}, 422, "validation_error"),
        ({"errors_allowed_to_retry": ["x"], "unknown": 1}, 422, "validation_error"),
        ({"errors_allowed_to_retry": ["x"], "change": {"payload": []}}, 422, "validation_error"),
        ({"errors_allowed_to_retry": ["x"], "died_after": "yesterday"}, 422, "validation_error"),
        ({"errors_allowed_to_retry": ["\u0000"]}, 422, None),
        ({"metadata": {"a": "\u0000"}}, 422, None),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_kept(
    call: Call, ours: Tenant, ask: dict[str, Any], status: int, code: str | None
) -> None:
    answer = call("POST", PLANS, ask)

    assert 400 <= answer.status_code < 500, answer.content
    if code is not None:
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert Redrive.objects.count() == 0


def test_where_it_does_not_stand_so_it_is_a_conflict(shop: Shop, call: Call, ours: Tenant) -> None:
    plan = begin(call, ours.text)

    for verb in ("start", "pause"):
        answer = call("POST", plan["links"][verb], {})
        assert (answer.status_code, answer.json()["code"]) == (409, "wrong_status")
    assert call("POST", plan["links"]["abort"]).json()["status"] == "aborted"
    assert call("POST", plan["links"]["abort"]).status_code == 409


def test_asked_twice_with_one_key_it_is_one(shop: Shop, call: Call, ours: Tenant) -> None:
    body = {"errors_allowed_to_retry": ["provider_down"]}
    answers = [call("POST", PLANS, body, Idempotency_Key="once") for _ in range(2)]

    assert answers[0].content == answers[1].content
    assert Redrive.objects.count() == 1


def test_tenants_see_nothing_of_one_another(shop: Shop, call: Call, ours: Tenant, theirs: Tenant) -> None:
    shop.dead(2, project_id=ours.project.id)
    plan = begin(call, ours.text)
    (cause,) = call("GET", LETTERS).json()["results"]

    assert call("GET", LETTERS, key=theirs.text).json()["results"] == []
    assert call("GET", cause["links"]["self"], key=theirs.text).status_code == 404
    assert call("GET", PLANS, key=theirs.text).json()["results"] == []
    for name in ("self", "jobs"):
        assert call("GET", plan["links"][name], key=theirs.text).status_code == 404
    for name in ("start", "pause", "abort"):
        assert call("POST", plan["links"][name], {"unknown": 1}, key=theirs.text).status_code == 404
    assert (
        call("POST", PLANS, {"errors_allowed_to_retry": ["provider_down"], "dry_run": True}, key=theirs.text).json()[
            "matched"
        ]
        == 0
    )
    theirs_too = begin(call, theirs.text)
    shop.drive(Redrive.objects.get(id=theirs_too["id"]))
    assert call("GET", theirs_too["links"]["self"], key=theirs.text).json()["frozen"] == 0


def test_a_key_without_the_scope_may_not(shop: Shop, call: Call, ours: Tenant) -> None:
    plan = begin(call, ours.text)
    reader = project_services.issue_key(
        project_id=ours.project.id, name="reader", scopes_asked=["reconciliation:read"], actor="system"
    ).text

    assert call("GET", LETTERS, key=reader).status_code == 200
    assert call("POST", PLANS, {"errors_allowed_to_retry": ["x"]}, key=reader).status_code == 403
    assert call("POST", plan["links"]["abort"], key=reader).status_code == 403
    assert call("GET", LETTERS, key=None).status_code == 401


def test_the_evidence_about_a_job_is_one_download(shop: Shop, call: Call, ours: Tenant, theirs: Tenant) -> None:
    (job_id,) = shop.dead(1, project_id=ours.project.id)
    plan = begin(call, ours.text)
    shop.up = True
    shop.drive(Redrive.objects.get())
    shop.work()
    shop.drive(Redrive.objects.get())
    call("POST", f"/api/v1/jobs/{job_id}/retry", {"reason": "x"})  # there is nothing to retry any more
    (failed,) = shop.submit(1, project_id=ours.project.id, error="down")
    call("POST", f"/api/v1/jobs/{failed}/cancel", {"reason": "not wanted"})

    answer = call("GET", f"/api/v1/jobs/{job_id}/evidence")

    assert answer["Content-Disposition"] == f'attachment; filename="job-{job_id}.json"'
    found = answer.json()
    assert found["job"]["status"] == "processed"
    assert [one["outcome"] for one in found["attempts"]] == ["failed", "done"]
    types = ["job.queued", "job.failed", "job.redriven", "job.processed"]
    assert [one["type"] for one in found["events"]] == types
    assert [(one["id"], one["state"]) for one in found["redrives"]] == [(plan["id"], "recovered")]
    assert (found["confirmation"], found["proof"], found["complete"]) == (None, None, True)
    acts = call("GET", f"/api/v1/jobs/{failed}/evidence").json()["acts"]
    assert [(one["action"], one["reason"]) for one in acts] == [("job.cancel", "not wanted")]
    assert call("GET", f"/api/v1/jobs/{job_id}/evidence", key=theirs.text).status_code == 404


def test_what_is_not_there_is_not_found(shop: Shop, call: Call, ours: Tenant) -> None:
    assert call("GET", f"{PLANS}/{uuid4()}").json()["code"] == "reconciliation_not_found"
    assert call("GET", f"{PLANS}/{UUID(int=0)}/jobs").status_code == 404
    assert call("GET", f"{LETTERS}/0123456789abcdef").json()["code"] == "cause_not_found"
    assert call("GET", f"{LETTERS}/%00").status_code in {400, 404}
    assert call("GET", f"{PLANS}?status=asleep").json()["code"] == "unknown_status"
    plan = begin(call, ours.text)
    assert call("GET", f"{plan['links']['jobs']}?state=asleep").json()["code"] == "unknown_state"
