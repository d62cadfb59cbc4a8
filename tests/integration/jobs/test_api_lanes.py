"""Lanes and interventions over HTTP."""

from typing import Any
from uuid import UUID

import pytest

from jobs import selectors
from jobs.models import Intervention, Job
from tests.integration.jobs.booking import booking, run
from tests.integration.jobs.conftest import JOBS
from tests.integration.jobs.test_api_read import pages
from tests.integration.projects.conftest import Call, Tenant, call, ours, theirs

__all__ = ["booking", "call", "ours", "theirs"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("booking")]

LANES, INTERVENTIONS = "/api/v1/lanes", "/api/v1/interventions"


def post(call: Call, *deeds: str, lane: str = "a") -> list[str]:
    body = {"jobs": [{"kind": "account.book", "payload": {"deed": deed}, "lane": lane} for deed in deeds]}
    answer = call("POST", f"{JOBS}/batch", body)
    assert answer.status_code == 202, answer.content
    return [item["id"] for item in answer.json()["jobs"]]


def asked(call: Call) -> dict[str, Any]:
    """The one open intervention."""
    (found,) = call("GET", f"{INTERVENTIONS}?state=open").json()["results"]
    assert isinstance(found, dict)
    return found


def test_a_job_says_its_lane_and_its_lane_says_who_waits(call: Call) -> None:
    made = call("POST", JOBS, {"kind": "account.book", "payload": {"deed": "fail"}, "lane": "a"}).json()
    behind = [call("POST", JOBS, {"kind": "account.book", "lane": "a"}).json() for _ in range(2)]
    run()

    (lane,) = call("GET", LANES).json()["results"]

    assert made["lane"] == "a"
    assert (lane["lane"], lane["waiting"], lane["waiting_since"]) == ("a", 2, behind[0]["created_at"])
    head = lane["head"]
    assert (head["id"], head["status"], head["error"]["code"]) == (made["id"], "blocked", "value_error")
    assert (head["intervention"], head["blocked_since"]) == (asked(call)["id"], asked(call)["opened_at"])


def test_who_waits_in_a_lane_is_told_behind_whom(call: Call) -> None:
    first, second, third = post(call, "fail", "", "")
    run()

    found = call("GET", f"{JOBS}/{third}/explain").json()

    assert found["code"] == "waits_in_lane"
    assert found["detail"] == "2 of its lane go before it; the first of them is blocked."
    facts = {name: found["facts"][name] for name in ("lane", "lane_ahead", "lane_head", "lane_head_status")}
    assert facts == {"lane": "a", "lane_ahead": 2, "lane_head": first, "lane_head_status": "blocked"}
    assert call("GET", f"{JOBS}/{second}/explain").json()["facts"]["lane_ahead"] == 1


def test_lanes_are_listed_by_name_page_by_page_and_by_how_their_first_job_stands(call: Call) -> None:
    for name in "dbca":
        post(call, "fail", lane=name)
    run()
    run()
    ended = UUID(post(call, "", lane="e")[0])
    Job.objects.filter(id=ended).update(status="processed")

    assert [lane["lane"] for page in pages(call, f"{LANES}?limit=2") for lane in page["results"]] == list("abcd")
    assert [lane["lane"] for lane in call("GET", f"{LANES}?status=blocked").json()["results"]] == ["b", "d"]
    assert [lane["lane"] for lane in call("GET", f"{LANES}?lane=c").json()["results"]] == ["c"]
    assert call("GET", f"{LANES}?status=processed").json()["code"] == "unknown_status"


def test_a_list_of_lanes_that_looks_at_many_leads_on(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "SCAN_LANES", 3)
    monkeypatch.setattr(selectors, "_LANES", selectors._LANES.replace("limit 2000", "limit 3"))
    for name in "abcdefgh":
        job = post(call, "", lane=name)[0]
        if name not in "bh":
            Job.objects.filter(id=job).update(status="processed")

    assert [[lane["lane"] for lane in page["results"]] for page in pages(call, LANES)] == [["b"], [], ["h"]]


def test_an_intervention_is_decided_over_http_and_the_lane_goes_on(call: Call, ours: Tenant) -> None:
    first, second = post(call, "fail", "")
    run()
    found = asked(call)
    assert [choice["action"] for choice in found["actions"]] == ["retry", "edit_and_retry", "resume", "skip", "supply"]
    assert found["links"]["subject"] == f"{JOBS}/{first}"

    seen = call("POST", found["links"]["preview"], {"action": "skip"}).json()
    after = call("POST", found["links"]["resolve"], {"action": "skip", "reason": "The order was withdrawn."})

    assert seen == {
        "action": "skip",
        "job": {"id": first, "status": "cancelled", "attempt": 1},
        "lane": {"lane": "a", "waiting": 1, "next": second},
    }
    assert after.status_code == 200, after.content
    shown = after.json()
    assert (shown["action"], shown["decision_reason"], shown["actions"]) == ("skip", "The order was withdrawn.", [])
    assert ours.key_id in shown["resolved_by"]
    assert call("GET", f"{JOBS}/{first}").json()["status"] == "cancelled"
    assert run() == [UUID(second)]
    assert call("GET", found["links"]["self"]).json() == shown
    assert call("GET", f"{INTERVENTIONS}?state=open").json()["results"] == []
    assert [row["id"] for row in call("GET", f"{INTERVENTIONS}?state=resolved").json()["results"]] == [found["id"]]
    again = call("POST", found["links"]["resolve"], {"action": "retry", "reason": "Once more."})
    assert (again.status_code, again.json()["code"]) == (409, "already_resolved")


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"action": "burn", "reason": "x"}, 422, "action_not_allowed", "/action"),
        ({"action": "retry"}, 422, "reason_required", "/reason"),
        ({"reason": "x"}, 422, "validation_error", "/action"),
        ({"action": "supply", "reason": "x"}, 422, "output_required", "/output"),
        ({"action": "edit_and_retry", "reason": "x", "payload": {"deed": 7}}, 422, "invalid_payload", "/payload/deed"),
        ({"action": "skip", "reason": "x" * 501}, 422, "validation_error", "/reason"),
        ({"action": "skip", "reason": "x", "why": 1}, 422, "validation_error", "/why"),
    ],
)
def test_a_decision_that_does_not_fit_says_where(
    call: Call, body: dict[str, Any], status: int, code: str, field: str
) -> None:
    post(call, "fail")
    run()

    answer = call("POST", asked(call)["links"]["resolve"], body)

    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content
    assert answer.json()["errors"][0]["field"] == field
    assert asked(call)["resolved_at"] is None


def test_interventions_are_asked_for_by_their_subject(call: Call) -> None:
    first, second = post(call, "fail", lane="a") + post(call, "fail", lane="b")
    run()
    run()

    assert [row["subject_id"] for row in call("GET", INTERVENTIONS).json()["results"]] == [second, first]
    by_subject = call("GET", f"{INTERVENTIONS}?subject_type=job&subject_id={first}").json()["results"]
    assert [row["subject_id"] for row in by_subject] == [first]
    assert call("GET", f"{INTERVENTIONS}?state=odd").json()["code"] == "unknown_state"


def test_a_blocked_job_is_resumed_by_its_own_address(call: Call) -> None:
    (job,) = post(call, "fail")
    run()

    resumed = call("POST", f"{JOBS}/{job}/resume", {"reason": "It is up again."})

    assert (resumed.status_code, resumed.json()["status"], resumed.json()["attempt"]) == (200, "queued", 1)
    assert Intervention.objects.get().decision_reason == "It is up again."
    again = call("POST", f"{JOBS}/{job}/resume")
    assert (again.status_code, again.json()["code"]) == (409, "wrong_status")
