"""Strict lanes: one job at a time, in order; who is blocked holds the others until a person has decided."""

from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from pydantic import BaseModel

from jobs import Done, handler, interventions, registry, services
from jobs.errors import AlreadyResolved, InvalidOption, RegistrationError, WrongStatus
from jobs.extensions import Decision
from jobs.models import Attempt, Intervention, Job
from jobs.states import Gate, Status
from tests.contracts.deliveries import PROJECT, Worker
from tests.integration.jobs.booking import booking, open_ones, run, statuses, submit

__all__ = ["booking"]

OTHER = UUID(int=8)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("booking")]


# ------------------------------------------------------------------------------------------------ the order
def test_one_job_of_a_lane_is_open_and_the_next_opens_with_its_end() -> None:
    ids = submit("", "", "")

    assert open_ones(ids) == ids[:1]
    for number in (1, 2, 3):
        assert run() == ids[number - 1 : number]
        assert open_ones(ids) == ids[number : number + 1]
    assert statuses(ids) == ["processed"] * 3
    assert run() == []


def test_jobs_that_come_later_wait_behind_those_that_are_there() -> None:
    ids = submit("") + submit("") + submit("", "")

    assert [run() for _ in ids] == [[job_id] for job_id in ids]


def test_an_empty_lane_starts_anew() -> None:
    first = submit("")
    run()

    second = submit("", "")

    assert open_ones(first + second) == second[:1]


def test_lanes_of_other_names_and_other_projects_are_other_lanes() -> None:
    ids = submit("", lane="a") + submit("", lane="b") + submit("", lane="a", project_id=OTHER) + submit("", lane=None)

    assert set(open_ones(ids)) == set(ids)


def test_the_head_holds_the_lane_while_it_waits_for_its_next_attempt() -> None:
    ids = submit("later", "")
    Job.objects.filter(id=ids[0]).update(max_attempts=9)
    run()

    assert statuses(ids) == ["queued", "queued"]
    assert open_ones(ids) == ids[:1]


def test_a_lane_comes_from_the_payload_where_the_author_says_so() -> None:
    made = [
        services.submit(project_id=PROJECT, kind="account.move", payload={"account": account})
        for account in ("x", "y", "x", "z" * 300)
    ]
    kept = {job.id: job.lane for job in Job.objects.filter(id__in=made)}

    assert [kept[job_id] for job_id in made[:3]] == ["account.move:x", "account.move:y", "account.move:x"]
    assert len(kept[made[3]] or "") <= services.LONGEST_LANE
    assert set(open_ones(made)) == {made[0], made[1], made[3]}


def test_who_names_a_lane_names_it_for_every_kind() -> None:
    named = services.submit(project_id=PROJECT, kind="account.move", payload={"account": "x"}, lane="a")

    assert open_ones([*submit(""), named]) == [named]


@pytest.mark.parametrize("lane", ["", "x" * 201, "a\x00b", "a\nb", "\ud800"])
def test_a_lane_has_a_name_that_can_be_shown(lane: str) -> None:
    with pytest.raises(InvalidOption, match="lane wants 1 to 200 printable characters"):
        submit("", lane=lane)
    assert not Job.objects.exists()


@pytest.mark.parametrize("by", ["amount", "tags"])
def test_a_lane_wants_fields_that_make_a_key(by: str) -> None:
    class Tagged(BaseModel):
        tags: set[str] = set()

    with pytest.raises(RegistrationError, match="lane="):
        handler("account.tag", payload=Tagged, lane=by)(lambda _job: Done())


# ------------------------------------------------------------------------------------------------ jobs that fail
def test_a_job_that_cannot_be_done_blocks_its_lane() -> None:
    ids = submit("fail", "", "")
    run()

    assert statuses(ids) == ["blocked", "queued", "queued"]
    assert run() == []
    (asked,) = Intervention.objects.all()
    assert (asked.subject_type, asked.subject_id, asked.reason) == ("job", str(ids[0]), "attempts_exhausted")
    assert asked.evidence["error"]["code"] == "value_error"
    assert asked.actions == ["retry", "edit_and_retry", "resume", "skip", "supply"]


def test_where_the_author_says_so_a_dead_letter_lets_the_others_go_on() -> None:
    ids = submit("fail", "", kind="account.note")
    run("account.note")

    assert statuses(ids) == ["failed", "queued"]
    assert open_ones(ids) == ids[1:]


def test_a_rejected_job_has_its_answer_and_the_next_one_runs() -> None:
    ids = submit("reject", "")
    run()

    assert statuses(ids) == ["rejected", "queued"]
    assert run() == ids[1:]


def test_a_worker_that_dies_blocks_a_lane_no_earlier_than_its_policy_says() -> None:
    ids = submit("", "")
    worker = Worker(registry.get("account.book"), "one")
    worker.dies(worker.claim())

    assert statuses(ids) == ["blocked", "queued"]
    assert Intervention.objects.get().evidence["error"]["code"] == "worker_died"


# ------------------------------------------------------------------------------------------------ by hand
def test_cancelling_the_first_lets_the_next_one_run() -> None:
    ids = submit("", "", "")
    services.cancel(project_id=PROJECT, job_id=ids[0], actor="tests")

    assert open_ones(ids) == ids[1:2]


def test_cancelling_one_that_waits_changes_nothing_for_the_others() -> None:
    ids = submit("", "", "")
    services.cancel(project_id=PROJECT, job_id=ids[1], actor="tests")

    assert open_ones(ids) == ids[:1]
    assert [run(), run()] == [ids[:1], ids[2:]]


def test_a_job_that_is_cancelled_while_it_runs_and_fails_lets_the_next_one_run() -> None:
    ids = submit("fail", "")
    Job.objects.filter(id=ids[0]).update(max_attempts=5)
    worker = Worker(registry.get("account.book"), "one")
    claimed = worker.claim()
    services.cancel(project_id=PROJECT, job_id=ids[0], actor="tests")
    worker.run(claimed)

    assert statuses(ids) == ["cancelled", "queued"]
    assert run() == ids[1:]


def test_an_ended_job_that_is_retried_enters_its_lane_at_the_end() -> None:
    ids = submit("", "", "")
    services.cancel(project_id=PROJECT, job_id=ids[0], actor="tests")
    services.retry(project_id=PROJECT, job_id=ids[0], actor="tests")

    assert [run() for _ in ids] == [[ids[1]], [ids[2]], [ids[0]]]


def test_an_ended_job_that_is_retried_into_an_empty_lane_runs() -> None:
    ids = submit("reject")
    run()
    services.retry(project_id=PROJECT, job_id=ids[0], actor="tests")

    assert open_ones(ids) == ids


# ------------------------------------------------------------------------------------------------ a person decides
def decide(intervention: Intervention, **decision: Any) -> Intervention:
    return interventions.resolve(intervention, Decision(**{"actor": "ada", "reason": "because", **decision}))


DECISIONS = [
    {"action": "retry"},
    {"action": "edit_and_retry", "payload": {"deed": ""}},
    {"action": "resume"},
    {"action": "skip"},
    {"action": "supply", "output": {"booked": 1}},
]


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda decision: decision["action"])
def test_a_preview_tells_what_a_decision_does_and_the_lane_goes_on(decision: dict[str, Any]) -> None:
    ids = submit("fail", "", "")
    run()
    asked = Intervention.objects.get()
    seen = interventions.preview(asked, Decision(actor="ada", reason="because", **decision))
    assert statuses(ids) == ["blocked", "queued", "queued"]
    assert Intervention.objects.filter(resolved_at=None).exists()

    after = decide(asked, **decision)

    job = Job.objects.get(id=ids[0])
    found = {name: getattr(job, name) for name in seen["job"]}
    found["payload"] = {"deed": ""} if "payload" in seen["job"] else None
    assert found == {"payload": None, **seen["job"]}
    assert (after.action, after.resolved_by, after.decision_reason) == (decision["action"], "ada", "because")
    assert after.resolved_at is not None
    assert seen["lane"]["waiting"] == 2
    assert open_ones(ids[1:]) == ([seen["lane"]["next"]] if seen["lane"]["next"] else [])
    if job.status == Status.QUEUED:  # it goes first; as its payload is bad, only the edited one can be done
        assert run() == ids[:1]
        if decision["action"] != "edit_and_retry":
            decide(Intervention.objects.get(resolved_at=None), action="skip")
    assert [run(), run()] == [ids[1:2], ids[2:]]
    assert statuses(ids[1:]) == ["processed", "processed"]


def test_a_resumed_job_keeps_its_count_of_attempts_and_a_retried_one_does_not() -> None:
    ids = submit("fail")
    run()
    decide(Intervention.objects.get(), action="resume")
    run()
    decide(Intervention.objects.get(resolved_at=None), action="retry")
    run()

    attempts = Attempt.objects.filter(job_id=ids[0]).order_by("claim_no").values_list("attempt", flat=True)
    assert list(attempts) == [1, 2, 1]
    assert Intervention.objects.count() == 3


@pytest.mark.parametrize(
    ("decision", "code"),
    [
        ({"action": "burn"}, "action_not_allowed"),
        ({"action": "retry", "reason": " "}, "reason_required"),
        ({"action": "supply"}, "output_required"),
        ({"action": "edit_and_retry"}, "payload_required"),
        ({"action": "retry", "payload": {"deed": ""}}, "payload_not_allowed"),
        ({"action": "skip", "output": 1}, "output_not_allowed"),
        ({"action": "supply", "output": "a\x00b"}, "invalid_output"),
        ({"action": "supply", "output": "x" * 1_100_000}, "invalid_output"),
    ],
)
def test_a_decision_that_cannot_be_taken_changes_nothing(decision: dict[str, Any], code: str) -> None:
    ids = submit("fail", "")
    run()

    with pytest.raises(InvalidOption) as refused:
        decide(Intervention.objects.get(), **decision)

    assert refused.value.code == code
    assert statuses(ids) == ["blocked", "queued"]


def test_of_two_decisions_one_is_taken() -> None:
    ids = submit("fail", "")
    run()
    asked, same = Intervention.objects.get(), Intervention.objects.get()
    decide(asked, action="skip")

    with pytest.raises((AlreadyResolved, WrongStatus)):
        decide(same, action="retry")
    assert statuses(ids) == ["cancelled", "queued"]


def test_a_decision_on_what_was_blocked_before_is_none_on_what_is_blocked_now() -> None:
    submit("fail")
    run()
    old = Intervention.objects.get()
    decide(Intervention.objects.get(), action="retry")
    run()

    with pytest.raises(AlreadyResolved):
        decide(old, action="skip")
    assert Intervention.objects.filter(resolved_at=None).count() == 1


@pytest.mark.parametrize("act", ["cancel", "retry"])
def test_whoever_lets_a_blocked_job_go_on_resolves_what_was_asked(act: str) -> None:
    ids = submit("fail", "")
    run()

    getattr(services, act)(project_id=PROJECT, job_id=ids[0], actor="ada", reason="seen")

    (asked,) = Intervention.objects.all()
    assert asked.resolved_at is not None
    assert (asked.resolved_by, asked.decision_reason) == ("ada", "seen")
    assert asked.action == ("cancel" if act == "cancel" else "resume")


def test_a_supplied_result_is_published_like_any_other() -> None:
    ids = submit("fail")
    run()
    decide(Intervention.objects.get(), action="supply", output={"booked": 1})

    with connection.cursor() as cur:
        cur.execute("select data from events_event where subject_id = %s and type = 'job.processed'", [ids[0]])
        (data,) = cur.fetchone()
    assert '"booked": 1' in str(data).replace("'", '"')
    job = Job.objects.get(id=ids[0])
    assert (job.status, job.output, job.error) == ("processed", {"booked": 1}, None)
    assert job.finished_at is not None


def test_a_gate_is_what_the_claim_reads() -> None:
    ids = submit("", "")

    assert [job.gate for job in Job.objects.filter(id__in=ids).order_by("lane_no")] == [0, Gate.LANE]


def test_an_edited_payload_takes_its_unique_key_and_gives_the_old_one_back() -> None:
    def opens(account: str, deed: str = "") -> UUID:
        return services.submit(project_id=PROJECT, kind="account.open", payload={"account": account, "deed": deed})

    blocked = opens("x", "fail")
    run("account.open")
    taken = opens("y")

    with pytest.raises(WrongStatus, match=str(taken)):
        decide(Intervention.objects.get(), action="edit_and_retry", payload={"account": "y", "deed": "fail"})
    decide(Intervention.objects.get(), action="edit_and_retry", payload={"account": "z", "deed": "fail"})

    assert opens("z") == blocked
    assert opens("x") != blocked
