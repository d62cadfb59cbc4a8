import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from uuid_utils.compat import uuid7

from ingestion.models import Message, moment_of
from ingestion.selectors import KnownMessage
from ingestion.serializers import LARGEST_BODY, LARGEST_DATA
from jobs.models import Job
from projects import services as projects
from tests.corpora.bad_json import BAD_JSON, GOOD_JSON, ODD_QUERIES, BadBody, within
from tests.integration.ingestion.conftest import body_of
from tests.integration.projects.conftest import Tenant

pytestmark = pytest.mark.django_db

MESSAGES = "/api/v1/messages"
Call = Callable[..., Any]
Receive = Callable[..., KnownMessage]
Work = Callable[[], dict[str, int]]


def shown(answer: Any, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.content
    body: dict[str, Any] = json.loads(answer.content)
    return body


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = shown(answer, status)
    assert body["code"] == code
    return body


def nothing_is_kept() -> bool:
    return not Message.objects.exists() and not Job.objects.filter(kind="message.process").exists()


# ------------------------------------------------------------------------------------------------ handing in
def test_a_message_is_accepted_with_its_resource_and_where_to_find_it(call: Call, ours: Tenant) -> None:
    message_id, company_id = uuid7(), uuid7()
    answer = call("POST", MESSAGES, body_of(message_id, company_id))

    message = shown(answer, 202)
    assert answer.headers["Location"] == f"{MESSAGES}/{message['id']}" == message["links"]["self"]
    assert message == {
        "id": message["id"],
        "project_id": str(ours.project.id),
        "company_id": str(company_id),
        "message_id": str(message_id),
        "message_time": "2026-11-22T05:00:00Z",
        "received_at": message["received_at"],
        "status": "received",
        "size": len(body_of(message_id, company_id)),
        "sha256": message["sha256"],
        "object_key": f"{company_id}/{message_id}.json",
        "stored_at": None,
        "error": None,
        "job_id": message["id"],
        "links": {"self": f"{MESSAGES}/{message['id']}", "job": f"/api/v1/jobs/{message['id']}"},
    }
    assert message["received_at"].startswith(moment_of(UUID(message["id"])).strftime("%Y-%m-%dT%H:%M:%S."))
    assert shown(call("GET", message["links"]["self"])) == message
    assert shown(call("GET", message["links"]["job"]))["kind"] == "message.process"


def test_the_bytes_are_kept_as_they_came(call: Call) -> None:
    body = body_of(note="Größe é 😀").replace(b"\n", b" \r\n\t ") + b"\n\n"

    shown(call("POST", MESSAGES, body), 202)

    assert bytes(Message.objects.get().body) == body


def test_the_same_body_again_answers_with_the_same_message(call: Call) -> None:
    body = body_of()
    first, second = call("POST", MESSAGES, body), call("POST", MESSAGES, body)

    assert (first.status_code, second.status_code) == (202, 200)
    assert shown(first, 202) == shown(second)
    assert second.headers["Location"] == first.headers["Location"]
    assert Message.objects.count() == Job.objects.filter(kind="message.process").count() == 1


def test_another_body_under_the_same_id_is_a_conflict(call: Call) -> None:
    message_id, company_id = uuid7(), uuid7()
    shown(call("POST", MESSAGES, body_of(message_id, company_id)), 202)

    problem(call("POST", MESSAGES, body_of(message_id, company_id, order_id="B-2")), 409, "message_conflict")
    problem(call("POST", MESSAGES, body_of(message_id, uuid7())), 409, "message_conflict")
    problem(call("POST", MESSAGES, body_of(message_id, company_id) + b" "), 409, "message_conflict")

    assert Message.objects.count() == 1


def test_after_processing_the_same_body_shows_how_far_it_is(call: Call, work: Work, storage: Path) -> None:
    body = body_of()
    call("POST", MESSAGES, body)
    work()

    message = shown(call("POST", MESSAGES, body))

    assert (message["status"], message["links"]["original"]) == ("processed", f"{MESSAGES}/{message['id']}/original")


@pytest.mark.parametrize(
    "metadata",
    [
        {"message_time": "2026-11-22T06:00:00", "company_id": str(uuid7()), "message_id": str(uuid7())},
        {"message_time": "2026-11-22T06:00:00Z", "company_id": "../../etc", "message_id": str(uuid7())},
        {"message_time": "2026-11-22T06:00:00Z", "company_id": str(uuid7()), "message_id": 7},
        {"message_time": "2026-11-22T06:00:00Z", "company_id": str(uuid7())},
        {},
        None,
    ],
    ids=["no offset", "no uuid", "a number", "no message_id", "empty", "null"],
)
def test_metadata_that_does_not_fit_is_refused_at_once_and_nothing_is_kept(call: Call, metadata: Any) -> None:
    body = json.dumps({"metadata": metadata, "data": {}}).encode()

    found = problem(call("POST", MESSAGES, body), 422, "validation_error")

    assert all(error["field"].startswith("/metadata") for error in found["errors"])
    assert nothing_is_kept()


@pytest.mark.parametrize("escape", [r"\u0000", r"\ud800", r"\udc00"])
@pytest.mark.parametrize("place", ["data", "metadata"])
def test_what_no_text_can_hold_is_refused(call: Call, escape: str, place: str) -> None:
    body = json.loads(body_of())
    body[place]["note"] = "HERE"

    answer = call("POST", MESSAGES, json.dumps(body).replace("HERE", escape).encode())

    problem(answer, 422, "nul_character" if escape == r"\u0000" else "lone_surrogate")
    assert nothing_is_kept()


def test_data_of_256_kib_is_accepted_and_more_is_refused(call: Call) -> None:
    room = LARGEST_DATA - len('{"a":""}')

    shown(call("POST", MESSAGES, body_of(a="x" * room)), 202)
    found = problem(call("POST", MESSAGES, body_of(a="x" * (room + 1))), 422, "validation_error")

    assert [(error["field"], error["code"]) for error in found["errors"]] == [("/data", "data_too_large")]
    assert Message.objects.count() == 1


def test_a_body_that_is_large_by_white_space_alone_is_refused_too(call: Call) -> None:
    problem(call("POST", MESSAGES, body_of() + b" " * LARGEST_BODY), 422, "data_too_large")
    problem(call("POST", MESSAGES, body_of() + b" " * 50_000_000), 413, "body_too_large")
    assert nothing_is_kept()


@pytest.mark.parametrize("bad", BAD_JSON, ids=str)
def test_a_bad_body_is_a_problem_and_nothing_is_kept(call: Call, bad: BadBody) -> None:
    answer = call("POST", MESSAGES, bad.body, content_type=bad.content_type)

    problem(answer, 422 if bad.code in {"nul_character", "lone_surrogate"} else bad.status, bad.code)
    assert nothing_is_kept()


@pytest.mark.parametrize("bad", [bad for bad in BAD_JSON if bad.is_value], ids=str)
def test_a_bad_value_within_data_is_a_problem_and_nothing_is_kept(call: Call, bad: BadBody) -> None:
    envelope = body_of().replace(b'"A-1"', b"%s").replace(b"%s", b"HERE", 0)
    answer = call("POST", MESSAGES, within(bad, envelope).body)

    problem(answer, 422 if bad.code in {"nul_character", "lone_surrogate"} else bad.status, bad.code)
    assert nothing_is_kept()


DEEPEST = 62  # levels that are left within data and a list


@pytest.mark.parametrize(
    "good", [number for number, text in enumerate(GOOD_JSON) if not text.startswith(b"[" * (DEEPEST + 1))]
)
def test_odd_data_is_accepted_and_kept(call: Call, good: int) -> None:
    body = body_of().replace(b'"A-1"', GOOD_JSON[good])

    shown(call("POST", MESSAGES, body), 202)

    assert bytes(Message.objects.get().body) == body


# ------------------------------------------------------------------------------------------------ Idempotency-Key
def test_an_idempotency_key_replays_the_first_answer(call: Call) -> None:
    body = body_of()
    first = call("POST", MESSAGES, body, Idempotency_Key="k-1")
    second = call("POST", MESSAGES, body, Idempotency_Key="k-1")

    assert (first.status_code, second.status_code) == (202, 202)
    assert (second.content, second.headers["Idempotency-Replayed"]) == (first.content, "true")
    assert Message.objects.count() == 1


def test_an_idempotency_key_with_another_body_is_refused(call: Call) -> None:
    shown(call("POST", MESSAGES, body_of(), Idempotency_Key="k-1"), 202)

    problem(call("POST", MESSAGES, body_of(), Idempotency_Key="k-1"), 422, "idempotency_key_reused")
    assert Message.objects.count() == 1


def test_a_conflict_is_not_kept_under_the_key(call: Call) -> None:
    message_id = uuid7()
    shown(call("POST", MESSAGES, body_of(message_id)), 202)

    problem(call("POST", MESSAGES, body_of(message_id), Idempotency_Key="k-2"), 409, "message_conflict")
    shown(call("POST", MESSAGES, body_of(), Idempotency_Key="k-2"), 202)


# ------------------------------------------------------------------------------------------------ one message
def test_another_tenants_message_is_as_unknown_as_none(
    call: Call, receive: Receive, work: Work, theirs: Tenant, storage: Path
) -> None:
    message = receive()
    work()

    for path in (f"{MESSAGES}/{message.id}", f"{MESSAGES}/{message.id}/original", f"{MESSAGES}/{uuid7()}"):
        problem(call("GET", path, key=theirs.text), 404, "message_not_found")
    assert shown(call("GET", MESSAGES, key=theirs.text))["results"] == []
    assert shown(call("GET", f"{MESSAGES}?company_id={message.company_id}", key=theirs.text))["results"] == []


def test_the_same_message_id_of_another_tenant_is_another_message(call: Call, theirs: Tenant) -> None:
    message_id = uuid7()
    first = call("POST", MESSAGES, body_of(message_id))
    second = call("POST", MESSAGES, body_of(message_id), key=theirs.text)

    assert (first.status_code, second.status_code) == (202, 202)
    assert shown(first, 202)["id"] != shown(second, 202)["id"]


def test_nobody_takes_the_object_key_of_another_tenant(call: Call, theirs: Tenant, work: Work, storage: Path) -> None:
    message_id, company_id = uuid7(), uuid7()
    own = shown(call("POST", MESSAGES, body_of(message_id, company_id)), 202)

    answer = call("POST", MESSAGES, body_of(message_id, company_id, other=1), key=theirs.text)

    found = problem(answer, 409, "company_of_another_project")
    assert str(own["project_id"]) not in json.dumps(found)
    assert work() == {"done": 1}
    assert (storage / own["object_key"]).read_bytes() == body_of(message_id, company_id)


def test_a_message_that_ended_badly_shows_its_error(call: Call, receive: Receive, work: Work, storage: Path) -> None:
    message = receive()
    (storage / message.object_key).parent.mkdir(parents=True)
    (storage / message.object_key).write_bytes(b"{}")
    work()

    found = shown(call("GET", f"{MESSAGES}/{message.id}"))

    assert (found["status"], found["error"]["code"], found["stored_at"]) == ("rejected", "object_conflict", None)


def test_the_original_is_downloaded_byte_for_byte(call: Call, work: Work, storage: Path) -> None:
    message_id, body = uuid7(), b""
    body = body_of(message_id, text="é \U0001f600") + b" \n"
    message = shown(call("POST", MESSAGES, body), 202)
    work()

    answer = call("GET", f"{MESSAGES}/{message['id']}/original")

    assert (answer.status_code, answer.content) == (200, body)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{message_id}.json"'
    assert answer.headers["ETag"] == f'"{message["sha256"]}"'


def test_an_original_that_is_not_stored_yet_is_not_found(call: Call, receive: Receive) -> None:
    problem(call("GET", f"{MESSAGES}/{receive().id}/original"), 404, "original_not_stored")


def test_an_original_that_was_lost_is_said_to_be_away_until_it_is_restored(
    call: Call, receive: Receive, work: Work, storage: Path
) -> None:
    message = receive()
    work()
    (storage / message.object_key).unlink()

    answer = call("GET", f"{MESSAGES}/{message.id}/original")

    problem(answer, 503, "storage_unavailable")
    assert answer.headers["Retry-After"] == "5"


def test_an_original_that_differs_is_not_given_out(call: Call, receive: Receive, work: Work, storage: Path) -> None:
    message = receive()
    work()
    (storage / message.object_key).write_bytes(b"{}")

    problem(call("GET", f"{MESSAGES}/{message.id}/original"), 500, "original_corrupt")


# ------------------------------------------------------------------------------------------------ lists
def listed(answer: Any) -> list[str]:
    return [message["id"] for message in shown(answer)["results"]]


def test_a_list_is_newest_first_and_leafs_both_ways(call: Call, receive: Receive) -> None:
    ids = [str(receive().id) for _ in range(5)][::-1]

    first = shown(call("GET", f"{MESSAGES}?limit=2"))
    second = shown(call("GET", first["next"]))
    last = shown(call("GET", second["next"]))
    back = shown(call("GET", second["previous"]))

    pages = [[message["id"] for message in page["results"]] for page in (first, second, last, back)]
    assert pages == [ids[:2], ids[2:4], ids[4:], ids[:2]]
    assert (first["previous"], last["next"]) == (None, None)


def test_lists_are_narrowed_by_company_status_and_time(call: Call, receive: Receive, work: Work, storage: Path) -> None:
    company = uuid7()
    early = receive(company_id=company)
    other = receive()
    work()
    late = receive(company_id=company)

    assert listed(call("GET", f"{MESSAGES}?company_id={company}")) == [str(late.id), str(early.id)]
    assert listed(call("GET", f"{MESSAGES}?company_id={company}&status=processed")) == [str(early.id)]
    assert listed(call("GET", f"{MESSAGES}?status=received")) == [str(late.id)]
    assert listed(call("GET", f"{MESSAGES}?status=processed")) == [str(other.id), str(early.id)]
    after = other.received_at.isoformat().replace("+00:00", "Z")
    assert listed(call("GET", f"{MESSAGES}?received_after={after}")) == [str(late.id), str(other.id)]
    assert listed(call("GET", f"{MESSAGES}?received_before={after}")) == [str(early.id)]


@pytest.mark.parametrize(
    "query, code",
    [
        ("status=done", "unknown_status"),
        ("company_id=7", "invalid_id"),
        ("received_after=yesterday", "invalid_time"),
        ("received_before=2026-11-22T06:00:00", "invalid_time"),
        ("limit=0", "invalid_limit"),
        ("cursor=abc", "invalid_cursor"),
        ("colour=red", "unknown_parameter"),
        ("status=failed&status=rejected", "repeated_parameter"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(call: Call, query: str, code: str) -> None:
    problem(call("GET", f"{MESSAGES}?{query}"), 400, code)


@pytest.mark.parametrize("query", ODD_QUERIES)
def test_an_odd_query_is_never_a_fault(call: Call, query: str) -> None:
    assert call("GET", f"{MESSAGES}?{query}").status_code < 500


# ------------------------------------------------------------------------------------------------ who may
def test_reading_and_writing_want_their_scopes(call: Call, ours: Tenant, receive: Receive) -> None:
    message = receive()
    keys = {
        scope: projects.issue_key(project_id=ours.project.id, name=scope, scopes_asked=[scope], actor="system").text
        for scope in ("messages:read", "messages:write", "jobs:write")
    }
    paths = [MESSAGES, f"{MESSAGES}/{message.id}"]

    for scope, key in keys.items():
        statuses = {call("GET", path, key=key).status_code for path in paths}
        assert statuses == ({200} if scope == "messages:read" else {403})
        written = call("POST", MESSAGES, body_of(), key=key).status_code
        assert written == (202 if scope == "messages:write" else 403)


def test_without_a_key_nobody_gets_in(call: Call) -> None:
    for headers in ({}, {"Authorization": "Basic " + base64.b64encode(b"a:b").decode()}):
        answer = call("POST", MESSAGES, body_of(), **headers) if headers else call("POST", MESSAGES, body_of(), key="x")
        problem(answer, 401, "invalid_api_key")
    assert nothing_is_kept()


def test_what_is_kept_is_one_statement_for_the_message_and_one_for_its_job(
    call: Call, django_assert_max_num_queries: Any
) -> None:
    call("POST", MESSAGES, body_of())  # the shelf is known from now on
    with django_assert_max_num_queries(4, connection=connection):  # begin, insert, (job: past Django), commit
        shown(call("POST", MESSAGES, body_of()), 202)
