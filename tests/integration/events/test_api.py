"""GET /events: the log of a project, newest first."""

import datetime as dt
from typing import Any
from uuid import UUID, uuid4

import pytest

from events import log, selectors
from events.log import NewEvent
from jobplatform.api.walks import PAGE_BYTES
from tests.integration.jobs.test_api_read import pages
from tests.integration.projects.conftest import Call, Tenant, call, ours, theirs

__all__ = ["call", "ours", "theirs"]

pytestmark = pytest.mark.django_db

EVENTS = "/api/v1/events"
SUBJECT = UUID(int=5)


def append(tenant: Tenant, *types: str, subject: UUID | None = None) -> None:
    log.append([NewEvent(tenant.project.id, type_, subject or uuid4(), 1, {"kind": "a.b"}) for type_ in types])


def types(answer: Any) -> list[str]:
    return [event["type"] for event in answer["results"]]


def test_an_event_has_its_eight_fields(call: Call, ours: Tenant) -> None:
    append(ours, "job.queued", subject=SUBJECT)

    (event,) = call("GET", EVENTS).json()["results"]

    assert event.keys() == {"id", "type", "seq", "occurred_at", "subject_id", "project_id", "topics", "data"}
    assert event | {"id": "", "occurred_at": ""} == {
        "id": "",
        "type": "job.queued",
        "seq": 1,
        "occurred_at": "",
        "subject_id": str(SUBJECT),
        "project_id": str(ours.project.id),
        "topics": ["status", "metrics"],
        "data": {"kind": "a.b"},
    }


def test_the_list_is_newest_first_and_filtered(call: Call, ours: Tenant, theirs: Tenant) -> None:
    append(ours, "job.queued", "job.failed", "job.queued")
    append(theirs, "job.failed")
    append(ours, "job.parked", subject=SUBJECT)

    assert types(call("GET", EVENTS).json()) == ["job.parked", "job.queued", "job.failed", "job.queued"]
    assert types(call("GET", f"{EVENTS}?type=job.queued").json()) == ["job.queued"] * 2
    assert types(call("GET", f"{EVENTS}?subject_id={SUBJECT}").json()) == ["job.parked"]
    assert types(call("GET", f"{EVENTS}?subject_id={SUBJECT}&type=job.failed").json()) == []
    assert types(call("GET", f"{EVENTS}?type=&subject_id=&after=").json())[0] == "job.parked"


def test_the_list_by_time(call: Call, ours: Tenant) -> None:
    append(ours, "job.queued")
    moment = call("GET", EVENTS).json()["results"][0]["occurred_at"]
    later = (dt.datetime.fromisoformat(moment) + dt.timedelta(hours=1)).isoformat().replace("+00:00", "Z")

    assert len(call("GET", f"{EVENTS}?occurred_after={moment}").json()["results"]) == 1
    assert call("GET", f"{EVENTS}?occurred_before={moment}").json()["results"] == []
    assert call("GET", f"{EVENTS}?occurred_after={later}").json()["results"] == []


@pytest.mark.parametrize("query", ["", "type=job.failed", f"subject_id={SUBJECT}"])
@pytest.mark.parametrize("limit", [1, 2, 200])
def test_pages_show_every_event_once_though_each_looks_at_few(  # noqa: PLR0917 - fixtures
    call: Call, ours: Tenant, theirs: Tenant, monkeypatch: pytest.MonkeyPatch, query: str, limit: int
) -> None:
    for number in range(9):
        append(ours, "job.failed" if number % 3 == 0 else "job.queued", subject=SUBJECT if number % 2 else None)
        append(theirs, "job.failed", "job.failed")
    everything = [event for page in pages(call, f"{EVENTS}?limit=200&{query}") for event in page["results"]]
    _scan_few(monkeypatch)

    shown = [event for page in pages(call, f"{EVENTS}?limit={limit}&{query}") for event in page["results"]]

    assert len(everything) >= 3
    assert shown == everything


def _scan_few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_SCAN", "_LAST_SCANNED"):
        text = getattr(selectors, name).replace("limit 10000", "limit 4").replace("offset 9999", "offset 3")
        monkeypatch.setattr(selectors, name, text)


def test_bad_questions_are_refused(call: Call) -> None:
    for query, code in (
        ("type=job.lost", "unknown_event_type"),
        ("subject_id=7", "invalid_id"),
        ("after=x", "invalid_after"),
        ("after=1-99999999999999999999", "invalid_after"),
        ("after=9999999999999999999-1", "invalid_after"),
        ("occurred_after=now", "invalid_time"),
        ("topic=status", "unknown_parameter"),
    ):
        answer = call("GET", f"{EVENTS}?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, code), query


@pytest.mark.parametrize("query", ["limit=100", "limit=100&type=job.queued", f"limit=100&subject_id={SUBJECT}"])
def test_a_page_carries_no_more_than_its_bytes(call: Call, ours: Tenant, query: str) -> None:
    large = {"kind": "a.b", "output": "x" * 2**20}  # compressed it is next to nothing
    log.append([NewEvent(ours.project.id, "job.queued", SUBJECT, seq, large) for seq in range(1, 8)])

    shown = [page["results"] for page in pages(call, f"{EVENTS}?{query}")]

    assert sorted(event["seq"] for page in shown for event in page) == list(range(1, 8))
    assert max(len(page) for page in shown) <= PAGE_BYTES // 2**20 + 1
