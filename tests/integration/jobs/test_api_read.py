"""Reading jobs over HTTP: lists with their filters and bounds, one job, its events and attempts, kinds."""

import datetime as dt
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client

from jobplatform.api.walks import PAGE_BYTES
from jobs import selectors
from jobs.models import Attempt, Job, Shelf, Worker
from jobs.states import Status
from tests.integration.jobs.conftest import JOBS, Make
from tests.integration.projects.conftest import Call, Tenant

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kinds")]

ERROR = {"code": "no_stock", "message": "None left.", "retryable": True, "fingerprint": "f"}


def ids(answer: Any) -> list[UUID]:
    assert answer.status_code == 200, answer.content
    return [UUID(job["id"]) for job in answer.json()["results"]]


def pages(call: Call, path: str, link: str = "next") -> Iterator[Any]:
    """The page at a path and all that its links lead to."""
    while path:
        answer = call("GET", path)
        assert answer.status_code == 200, answer.content
        yield answer.json()
        parts = urlsplit(answer.json()[link] or "")
        path = f"{parts.path}?{parts.query}" if parts.path else ""


def walk(call: Call, path: str) -> list[UUID]:
    return [UUID(job["id"]) for page in pages(call, path) for job in page["results"]]


# ---------------------------------------------------------------------------------------------- lists


def test_a_list_is_newest_first_and_every_filter_holds(call: Call, make: Make) -> None:
    plain = make()
    failed = make(status="failed", error=ERROR)
    other_kind = make(kind="parcel.send", payload={"parcel_id": "1"})
    tagged = make(metadata={"order": "7", "n": 7, "deep": {"a": 1}})
    staged = make(stage="confirm", lane="customer-1")
    processing = make(status="processing")

    def found(query: str) -> list[UUID]:
        return ids(call("GET", f"{JOBS}?{query}"))

    everything = [processing, staged, tagged, other_kind, failed, plain]
    assert found("") == everything
    assert found("kind=parcel.send") == [other_kind]
    assert found("status=failed") == [failed]
    assert found("status=processing") == [processing]
    assert found("status=blocked") == []
    assert found("stage=confirm") == [staged]
    assert found("lane=customer-1") == [staged]
    assert found("error_code=no_stock") == [failed]
    assert found("status=failed&error_code=no_stock&kind=parcel.store") == [failed]
    assert found("status=failed&error_code=other") == []
    assert found("metadata.order=7") == [tagged]
    assert found("metadata.n=7&metadata.order=7") == [tagged]
    assert found("metadata.order=8") == []
    assert found("metadata.none=") == everything  # an empty filter is none
    assert found("kind=&status=&metadata.=&created_after=") == everything


@pytest.mark.parametrize("virtual", [True, False], ids=["clock may be moved", "ids tell the time"])
def test_a_list_by_time(call: Call, make: Make, settings: Any, virtual: bool) -> None:
    settings.VIRTUAL_CLOCK = virtual
    first, second, third = make(), make(), make()
    moment = call("GET", f"{JOBS}/{second}").json()["created_at"]
    later = (dt.datetime.fromisoformat(moment) + dt.timedelta(days=1)).isoformat().replace("+00:00", "Z")

    assert ids(call("GET", f"{JOBS}?created_after={moment}")) == [third, second]
    assert ids(call("GET", f"{JOBS}?created_before={moment}")) == [first]
    assert ids(call("GET", f"{JOBS}?created_after={later}")) == []
    assert ids(call("GET", f"{JOBS}?created_after={moment}&created_before={moment}")) == []


@pytest.mark.parametrize("query", ["", "status=queued", "kind=parcel.store", "metadata.even=0", "status=failed"])
@pytest.mark.parametrize("limit", [1, 3, 200])
def test_pages_show_every_job_once_and_in_order_though_each_looks_at_few(
    call: Call, make: Make, monkeypatch: pytest.MonkeyPatch, query: str, limit: int
) -> None:
    monkeypatch.setattr(selectors, "SCAN_ROWS", 4)
    monkeypatch.setattr(selectors, "SCAN_RARE_ROWS", 2)
    for number in range(11):
        make(
            kind="parcel.store" if number % 3 else "parcel.once",
            payload={"parcel_id": str(number)},
            metadata={"even": str(number % 2)},
            **({"status": "failed"} if number in {2, 3, 9} else {}),
        )
    wanted = [
        row.id
        for row in Job.objects.order_by("-id")
        if (not query or "kind" not in query or row.kind == "parcel.store")
        and ("status" not in query or row.status == query.partition("=")[2])
        and ("metadata" not in query or (row.metadata or {})["even"] == "0")
    ]

    assert walk(call, f"{JOBS}?limit={limit}&{query}") == wanted


def test_pages_can_be_read_backwards(call: Call, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "SCAN_ROWS", 3)
    every = [make(metadata={"mine": str(number % 2)}) for number in range(9)][::-1]
    last = [page for page in pages(call, f"{JOBS}?limit=2&metadata.mine=0") if page["results"]][-1]
    shown = [UUID(job["id"]) for job in last["results"]]
    parts = urlsplit(last["previous"])

    for page in pages(call, f"{parts.path}?{parts.query}", "previous"):
        shown = [UUID(job["id"]) for job in page["results"]] + shown

    assert shown == every[::2]


def test_a_page_without_results_leads_on(call: Call, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    old = make(metadata={"rare": "1"})
    for _ in range(5):
        make()
    monkeypatch.setattr(selectors, "SCAN_ROWS", 2)

    first, *rest = pages(call, f"{JOBS}?metadata.rare=1")

    assert first["results"] == []
    assert first["next"]
    assert [job["id"] for page in rest for job in page["results"]] == [str(old)]


def test_jobs_that_come_meanwhile_push_nobody_out_and_show_nobody_twice(
    call: Call, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selectors, "SCAN_ROWS", 3)
    wanted = [make(metadata={"mine": "1"}) for _ in range(4)][::-1]
    shown = []

    for page in pages(call, f"{JOBS}?metadata.mine=1&limit=2"):
        shown += [UUID(job["id"]) for job in page["results"]]
        make()

    assert shown == wanted


def test_a_page_carries_no_more_than_its_bytes(call: Call, make: Make) -> None:
    large = [make() for _ in range(7)]
    with connection.cursor() as cur:  # texts that do not compress, a mebibyte each
        cur.execute(
            "update jobs_job set payload = jsonb_build_object('text',"
            " (select string_agg(md5(random()::text || n || jobs_job.id), '') from generate_series(1, 32768) n))"
        )

    sizes = [len(page["results"]) for page in pages(call, f"{JOBS}?limit=100")]

    assert walk(call, f"{JOBS}?limit=100") == large[::-1]
    assert max(sizes) <= PAGE_BYTES // 2**20 + 1
    assert call("GET", f"{JOBS}/{large[0]}").json()["payload"]["text"]


@pytest.mark.parametrize(
    "large",
    [
        "jsonb_build_object('text', repeat('a', 1000000))",  # compresses to a hundredth
        "jsonb_build_object('n', (select jsonb_agg(1e300) from generate_series(1, 3300)))",  # 10 bytes each, shown 300
    ],
)
@pytest.mark.parametrize("column", ["payload", "output", "metadata"])
def test_a_page_is_measured_by_what_it_shows(call: Call, make: Make, large: str, column: str) -> None:
    made = [make() for _ in range(12)]
    with connection.cursor() as cur:
        cur.execute(f"update jobs_job set {column} = {large}")

    found = list(pages(call, f"{JOBS}?limit=100"))

    assert [job["id"] for page in found for job in page["results"]] == [str(job_id) for job_id in made[::-1]]
    assert max(len(page["results"]) for page in found) <= 5
    assert all(job[column] for page in found for job in page["results"])


@pytest.mark.parametrize(
    "query, code",
    [
        ("status=lost", "unknown_status"),
        ("created_after=yesterday", "invalid_time"),
        ("created_after=2026-13-01T00:00:00Z", "invalid_time"),
        ("created_before=2026-11-22", "invalid_time"),
        ("kind=" + "k" * 201, "invalid_value"),
        ("colour=blue", "unknown_parameter"),
        ("metadata=1", "unknown_parameter"),
        ("kind=a&kind=b", "repeated_parameter"),
        ("&".join(f"metadata.k{n}=1" for n in range(6)), "too_many_filters"),
        ("metadata." + "k" * 200 + "=1", "parameter_name_too_long"),
        ("kind=%00", "nul_character"),
        ("limit=0", "invalid_limit"),
        ("cursor=nonsense", "invalid_cursor"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(call: Call, query: str, code: str) -> None:
    answer = call("GET", f"{JOBS}?{query}")

    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_a_name_in_metadata_is_a_value_to_the_database(call: Call, make: Make) -> None:
    make(metadata={"a' or true --": "x"})

    assert len(ids(call("GET", f"{JOBS}?metadata.a%27%20or%20true%20--=x"))) == 1
    assert ids(call("GET", f"{JOBS}?metadata.a%27%20or%20true%20--=y")) == []


# ---------------------------------------------------------------------------------------------- one job


def test_a_finished_job_shows_its_result(call: Call, make: Make) -> None:
    now = dt.datetime(2026, 11, 22, 6, tzinfo=dt.UTC)
    done = make(
        status="processed",
        output={"n": 1},
        quality=0.5,
        attempt=2,
        progress={"done": 1.0, "total": 2.0, "note": "half"},
        steps={"dump": {"rows": 3}},
        started_at=now,
        finished_at=now,
    )
    failed = make(status="failed", error=ERROR)

    shown = call("GET", f"{JOBS}/{done}").json()
    assert (shown["status"], shown["output"], shown["quality"], shown["attempt"]) == ("processed", {"n": 1}, 0.5, 2)
    assert shown["progress"] == {"done": 1.0, "total": 2.0, "note": "half"}
    assert shown["steps"] == {"dump": {"rows": 3}}
    assert (shown["started_at"], shown["finished_at"]) == ("2026-11-22T06:00:00Z", "2026-11-22T06:00:00Z")
    assert call("GET", f"{JOBS}/{failed}").json()["error"] == ERROR


def test_a_job_of_a_kind_that_nobody_knows_any_more_is_shown(call: Call, make: Make) -> None:
    job_id = make(kind="parcel.store")
    Job.objects.update(kind="gone.away")

    shown = call("GET", f"{JOBS}/{job_id}").json()
    assert (shown["kind"], shown["max_attempts"]) == ("gone.away", 5)
    assert ids(call("GET", f"{JOBS}?kind=gone.away")) == [job_id]


@pytest.mark.parametrize("path", ["", "/events", "/attempts", "/explain"])
def test_no_job_is_404(call: Call, path: str) -> None:
    answer = call("GET", f"{JOBS}/01a20204-840b-75fb-8ee0-055d0b49d6e2{path}")

    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")


@pytest.mark.parametrize("path", [f"{JOBS}/nonsense", f"{JOBS}/", "/api/v1/kinds/", "/api/v1/nothing", "/api/none"])
def test_no_address_is_404(call: Call, path: str) -> None:
    answer = call("GET", path)

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("method, path", [("DELETE", JOBS), ("PUT", JOBS), ("GET", f"{JOBS}/batch"), ("OPTIONS", JOBS)])
def test_no_such_method_is_405(call: Call, method: str, path: str) -> None:
    answer = call(method, path)

    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


def test_a_settled_job_is_not_waited_for(call: Call, make: Make) -> None:
    for status in selectors.SETTLED:
        job_id = make(status=status)
        assert call("GET", f"{JOBS}/{job_id}?wait=25").json()["status"] == status


@pytest.mark.parametrize("wait", ["26", "-1", "1e1", "x", "25.5", "99", "nan"])
def test_a_wait_that_makes_no_sense_is_refused(call: Call, make: Make, wait: str) -> None:
    answer = call("GET", f"{JOBS}/{make()}?wait={wait}")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_wait")


def test_the_events_of_a_job_come_oldest_first(call: Call, make: Make) -> None:
    job_id = make()
    call("POST", f"{JOBS}/{job_id}/cancel")
    call("POST", f"{JOBS}/{job_id}/retry")
    make()

    found = [event for page in pages(call, f"{JOBS}/{job_id}/events?limit=1") for event in page["results"]]

    assert [(event["type"], event["seq"]) for event in found] == [
        ("job.queued", 1),
        ("job.cancelled", 2),
        ("job.redriven", 3),
    ]
    assert {event["subject_id"] for event in found} == {str(job_id)}


def test_attempts_come_oldest_first_with_what_they_logged(call: Call, make: Make, ours: Tenant) -> None:
    job_id = make()
    worker = Worker.objects.create(name="worker@host", host="host", pid=1, parent_pid=1, queues=[], kinds=[])
    began = dt.datetime(2026, 11, 22, 6, tzinfo=dt.UTC)
    for number in (1, 2, 3):
        Attempt.objects.create(
            job_id=job_id,
            project_id=ours.project.id,
            claim_no=number,
            attempt=number,
            worker_id=worker.id if number == 1 else None,
            started_at=began,
            ended_at=began + dt.timedelta(milliseconds=1500),
            stage="process",
            outcome="retried",
            error=ERROR if number == 1 else None,
            log=[{"at": 0.1, "message": "hello"}] if number == 1 else None,
            metrics={"rows": 3.0} if number == 1 else None,
        )

    first, *rest = [row for page in pages(call, f"{JOBS}/{job_id}/attempts?limit=2") for row in page["results"]]

    assert first == {
        "number": 1,
        "attempt": 1,
        "stage": "process",
        "outcome": "retried",
        "started_at": "2026-11-22T06:00:00Z",
        "ended_at": "2026-11-22T06:00:01.500000Z",
        "duration_ms": 1500.0,
        "worker": "worker@host",
        "error": ERROR,
        "log": [{"at": 0.1, "message": "hello"}],
        "metrics": {"rows": 3.0},
    }
    assert [(row["number"], row["worker"], row["log"], row["metrics"]) for row in rest] == [
        (2, None, [], {}),
        (3, None, [], {}),
    ]


# ---------------------------------------------------------------------------------------------- explained


def test_why_a_job_does_not_run(call: Call, make: Make) -> None:
    def why(job_id: UUID) -> str:
        answer = call("GET", f"{JOBS}/{job_id}/explain")
        assert answer.json()["detail"].endswith(".")
        return str(answer.json()["code"])

    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    first, second = make(), make()
    assert why(first) == "no_worker"
    Worker.objects.create(name="w", host="h", pid=1, parent_pid=1, queues=["default"], kinds=["parcel.store"])
    assert (why(first), why(second)) == ("next", "in_line")
    assert why(make(due_at=tomorrow)) == "not_due"
    assert why(make(due_at=tomorrow, attempt=1)) == "waits_for_retry"
    assert why(make(gate=1)) == "gate_closed"
    assert why(make(status="processing", cancel_requested=True)) == "stopping"
    Shelf.objects.update(paused=True)
    assert why(first) == "paused"


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.QUEUED])
def test_every_status_is_explained(call: Call, make: Make, status: Status) -> None:
    shown = call("GET", f"{JOBS}/{make(status=status)}/explain").json()

    assert shown["status"] == status
    assert shown["code"]
    assert shown["detail"]


# ---------------------------------------------------------------------------------------------- acts


def test_a_waiting_job_is_stopped_at_once_and_again_changes_nothing(call: Call, make: Make, ours: Tenant) -> None:
    from events.models import AuditRecord

    job_id = make()

    stopped = call("POST", f"{JOBS}/{job_id}/cancel", {"reason": "Withdrawn."})
    again = call("POST", f"{JOBS}/{job_id}/cancel")

    assert (stopped.status_code, stopped.json()["status"]) == (200, "cancelled")
    assert (again.status_code, again.json()) == (200, stopped.json())
    record = AuditRecord.objects.filter(subject_id=str(job_id)).earliest("id")
    assert (record.action, record.actor, record.reason) == ("job.cancel", f"key:{ours.key_id}", "Withdrawn.")


def test_a_running_job_is_asked_to_stop(call: Call, make: Make) -> None:
    job_id = make(status="processing")

    answer = call("POST", f"{JOBS}/{job_id}/cancel")

    assert (answer.status_code, answer.json()["status"]) == (200, "processing")
    assert Job.objects.get(id=job_id).cancel_requested


@pytest.mark.parametrize("act, status", [("cancel", "processed"), ("retry", "queued"), ("retry", "processing")])
def test_an_act_that_is_not_possible_here_is_409(call: Call, make: Make, act: str, status: str) -> None:
    answer = call("POST", f"{JOBS}/{make(status=status)}/{act}", {})

    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_status")


@pytest.mark.parametrize("status", ["failed", "rejected", "cancelled", "blocked"])
def test_an_ended_job_is_queued_once_more(call: Call, make: Make, status: str) -> None:
    job_id = make(status=status, attempt=3, error=ERROR)

    answer = call("POST", f"{JOBS}/{job_id}/retry", {"reason": "Repaired."})

    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["attempt"], answer.json()["error"]) == ("queued", 0, None)


def test_a_payload_can_be_repaired_if_it_fits(call: Call, make: Make) -> None:
    job_id = make(kind="parcel.send", payload={"parcel_id": "1"}, status="failed")

    bad = call("POST", f"{JOBS}/{job_id}/retry", {"payload": {"parcel_id": ""}})
    good = call("POST", f"{JOBS}/{job_id}/retry", {"payload": {"parcel_id": "2"}})

    assert (bad.status_code, bad.json()["errors"][0]["field"]) == (422, "/payload/parcel_id")
    assert (good.status_code, good.json()["payload"]) == (200, {"parcel_id": "2"})


def once(call: Call, parcel_id: str) -> str:
    answer = call("POST", JOBS, {"kind": "parcel.once", "payload": {"parcel_id": parcel_id}})
    assert answer.status_code == 202, "the key is free"
    return f"{JOBS}/{answer.json()['id']}"


def test_a_retry_takes_the_unique_key_again_or_is_refused(call: Call, make: Make) -> None:
    first = once(call, "1")
    Job.objects.update(status="failed")
    second = once(call, "1")

    refused = call("POST", f"{first}/retry")
    Job.objects.filter(status="queued").update(status="failed")
    accepted = call("POST", f"{first}/retry")
    again = call("POST", JOBS, {"kind": "parcel.once", "payload": {"parcel_id": "1"}})

    assert (refused.status_code, refused.json()["code"]) == (409, "wrong_status")
    assert second.rpartition("/")[2] in refused.json()["detail"]
    assert (accepted.status_code, accepted.json()["status"]) == (200, "queued")
    assert (again.status_code, again.json()["id"]) == (200, first.rpartition("/")[2])


def test_a_retry_with_another_payload_changes_the_unique_key(call: Call, make: Make) -> None:
    first, other = once(call, "1"), once(call, "2")
    Job.objects.filter(id=first.rpartition("/")[2]).update(status="blocked")

    refused = call("POST", f"{first}/retry", {"payload": {"parcel_id": "2"}})
    accepted = call("POST", f"{first}/retry", {"payload": {"parcel_id": "3"}})

    assert (refused.status_code, accepted.status_code) == (409, 200)
    assert once(call, "1") not in {first, other}
    taken = call("POST", JOBS, {"kind": "parcel.once", "payload": {"parcel_id": "3"}})
    assert (taken.status_code, taken.json()["id"]) == (200, first.rpartition("/")[2])


@pytest.mark.parametrize("body", [{"reason": 7}, {"reason": "x" * 501}, {"why": "x"}, [], {"payload": []}])
@pytest.mark.parametrize("act", ["cancel", "retry"])
def test_an_act_takes_its_own_fields_only(call: Call, make: Make, act: str, body: Any) -> None:
    answer = call("POST", f"{JOBS}/{make()}/{act}", body)

    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")


# ---------------------------------------------------------------------------------------------- kinds


def test_kinds_tell_what_their_payload_must_be(call: Call) -> None:
    found = {kind["name"]: kind for page in pages(call, "/api/v1/kinds?limit=1") for kind in page["results"]}

    assert {"parcel.once", "parcel.send", "parcel.store"} <= set(found)
    assert "parcel.burn" not in found
    send = found["parcel.send"]
    assert send == call("GET", "/api/v1/kinds/parcel.send").json()
    assert (send["title"], send["retry"]["max_attempts"]) == ("Send a parcel.", 3)
    assert send["example"] == {"parcel_id": "P-1"}
    assert send["payload_schema"]["required"] == ["parcel_id"]
    assert found["parcel.once"]["unique_by"] == ["parcel_id"]
    assert found["parcel.once"]["example"] == {"parcel_id": "text"}  # made from the schema


def test_every_example_makes_a_job(call: Call) -> None:
    for kind in call("GET", "/api/v1/kinds?limit=200").json()["results"]:
        if kind["example"] is not None:
            answer = call("POST", JOBS, {"kind": kind["name"], "payload": kind["example"]})
            assert answer.status_code == 202, answer.content


@pytest.mark.parametrize("name", ["parcel.burn", "no.such", "%00", "x" * 300])
def test_no_kind_is_404(call: Call, name: str) -> None:
    assert call("GET", f"/api/v1/kinds/{name}").status_code in {400, 404}


# ---------------------------------------------------------------------------------------------- for people


def test_the_page_for_people_offers_a_form_for_each_kind(admin_client: Client, ours: Tenant) -> None:
    page = admin_client.get(f"{JOBS}?project={ours.project.id}", headers={"Accept": "text/html"})

    assert page.headers["Content-Type"].startswith("text/html")
    text = page.content.decode()
    assert "parcel.send" in text
    assert "parcel.burn" not in text
    assert "&quot;parcel_id&quot;: &quot;P-1&quot;" in text
    assert "Schema of parcel.send" in text


def test_the_page_of_a_job_runs_nothing_that_a_handler_wrote(admin_client: Client, make: Make, ours: Tenant) -> None:
    from tests.corpora.markup import MARKUP, harm_in

    job_id = make(
        status="failed",
        output={"texts": list(MARKUP), **{text: 1 for text in MARKUP if "\x00" not in text}},
        error=ERROR | {"message": "".join(MARKUP)},
        lane=MARKUP[0],
    )

    for path in (
        f"{JOBS}/{job_id}",
        JOBS,
        f"{JOBS}/{job_id}/explain",
        f"{JOBS}/{job_id}/events",
        f"{JOBS}/{job_id}/retry",
    ):
        page = admin_client.get(f"{path}?project={ours.project.id}", headers={"Accept": "text/html"})
        assert harm_in(page.content.decode()) == ["<script>"] * 3  # its own: two of data, and the one with the nonce
        assert "script-src 'nonce-" in page.headers["Content-Security-Policy"]
