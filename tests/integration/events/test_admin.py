"""The log, its consumers and the audit record in the admin: to be looked at, in the order of the log."""

import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from benchmarks.explain import nodes
from events import audit, heads, sealing
from events.admin import EventAdmin
from events.models import Consumer
from jobplatform.backoffice import bounded
from tests.often import often

pytestmark = pytest.mark.django_db

OURS, THEIRS = UUID(int=11), UUID(int=12)

EVENTS = "/admin/events/event/"
FILL = """
insert into events_event (position, project_id, type, subject_id, seq, data)
select 1 + n / %s, case when n %% 3 = 0 then %s::uuid else %s::uuid end,
       case when n %% 4 = 0 then 'job.failed' else 'job.processed' end,
       lpad(to_hex(n), 32, '0')::uuid, 1, jsonb_build_object('n', n)
from generate_series(1, %s) n
"""


@pytest.fixture
def root() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def fill(number: int, in_a_row: int = 7) -> None:
    """Events, `in_a_row` of them at one position, as of one transaction."""
    with connection.cursor() as cursor:
        cursor.execute(FILL, (in_a_row, OURS, THEIRS, number))


def walk(client: Client, query: str) -> list[int]:
    """The `n` of every event that the list shows, page by page, on through the older windows."""
    shown: list[int] = []
    address: str | None = f"?{query}"
    for _ in range(200):
        changes = client.get(EVENTS + str(address)).context["cl"]
        shown += [event.data["n"] for event in changes.result_list]
        for page in range(2, changes.paginator.num_pages + 1):
            shown += [event.data["n"] for event in client.get(f"{EVENTS}{address}&p={page}").context["cl"].result_list]
        address = changes.older
        if address is None:
            return shown
    pytest.fail("The list has no end.")


@pytest.mark.parametrize(
    ("query", "step"),
    often(
        [("", 1), (f"project={OURS}&type=job.failed", 12)],
        [("", 1), ("type=job.failed", 4), (f"project={OURS}", 3), (f"project={OURS}&type=job.failed", 12)],
    ),
)
def test_leafing_through_the_log_shows_each_event_once(
    root: Client, monkeypatch: pytest.MonkeyPatch, query: str, step: int
) -> None:
    monkeypatch.setattr(bounded, "WINDOW", 10)
    monkeypatch.setattr(bounded, "MOST_ROWS", 4)
    monkeypatch.setattr(EventAdmin, "list_per_page", 2)
    fill(36)

    assert walk(root, query) == [n for n in range(36, 0, -1) if n % step == 0]


def test_events_of_a_subject_are_found(root: Client) -> None:
    fill(30)
    subject = UUID(int=7)

    page = root.get(EVENTS, {"q": str(subject)})

    assert [event.subject_id for event in page.context["cl"].result_list] == [subject]
    assert f"/admin/jobs/job/{subject}/change/" in page.content.decode()
    assert root.get(EVENTS, {"q": "nothing"}).context["cl"].result_list == []


def test_the_data_of_an_event_unfolds_in_the_list(root: Client) -> None:
    fill(1)

    assert '<pre class="jp-json">{\n  &quot;n&quot;: 1\n}</pre>' in root.get(EVENTS).content.decode()


@pytest.mark.parametrize("path", ["1/change/", "add/", "1/delete/", "1/history/"])
def test_an_event_has_no_page_of_its_own(root: Client, path: str) -> None:
    fill(1)

    assert root.get(EVENTS + path).status_code in {302, 403, 404}


@pytest.mark.parametrize(
    "query", ["", "type=job.failed", "type=job.blocked", f"q={UUID(int=9)}", f"project={OURS}", "p=2"]
)
def test_no_list_reads_a_whole_partition(root: Client, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    monkeypatch.setattr(bounded, "WINDOW", 300)
    fill(20_000, in_a_row=2)
    with connection.cursor() as cursor:
        cursor.execute("analyze events_event")

    with CaptureQueriesContext(connection) as captured:
        assert root.get(f"{EVENTS}?{query}").status_code == 200

    for sql in (entry["sql"] for entry in captured.captured_queries if "events_event" in entry["sql"]):
        if re.match("select", sql, re.IGNORECASE):
            with connection.cursor() as cursor:
                cursor.execute(f"explain (format json) {sql}")
                plan = cursor.fetchone()[0]
            tree = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
            large = [n for n in nodes(tree) if n["Node Type"] == "Seq Scan" and n["Plan Rows"] > 1_000]
            assert not large, sql


# ------------------------------------------------------------------------------------------------ beside the log
def test_consumers_tell_how_far_they_are(root: Client) -> None:
    Consumer.objects.update_or_create(name="index", defaults={"failures": 3, "error": "refused"})

    page = root.get("/admin/events/consumer/").content.decode()

    assert "index" in page
    assert "refused" in page
    assert root.get("/admin/events/consumer/index/change/").status_code == 200


def test_the_audit_record_is_searched_by_whole_words(root: Client) -> None:
    audit.record(action="job.cancel", actor="user:olga", subject_type="job", subject_id="s-1", reason="ordered twice")
    audit.record(action="key.revoke", actor="key:abc", subject_type="key", subject_id="s-2", project_id=OURS)

    def found(query: dict[str, str]) -> list[str]:
        return [row.action for row in root.get("/admin/events/auditrecord/", query).context["cl"].result_list]

    assert found({}) == ["key.revoke", "job.cancel"]
    assert found({"q": "olga"}) == ["job.cancel"]
    assert found({"q": "key:abc"}) == found({"q": "s-2"}) == found({"q": "key.revoke"}) == ["key.revoke"]
    assert found({"q": "cancel"}) == []


def test_the_audit_record_shows_its_seals_and_verifies_a_chain(root: Client, tmp_path: Path, settings: Any) -> None:
    settings.STORAGE_URL = f"file://{tmp_path}"
    audit.record(action="job.cancel", actor="user:olga", subject_type="job", subject_id="s-1", project_id=OURS)
    audit.record(action="key.revoke", actor="key:abc", subject_type="key", subject_id="s-2")
    assert root.get("/admin/events/auditrecord/").content.decode().count("not sealed yet") == 2
    sealing.seal()
    heads.store()
    page = root.get("/admin/events/auditrecord/").content.decode()
    ours, platform = f"/admin/events/auditrecord/verify/{OURS}/", "/admin/events/auditrecord/verify/platform/"
    assert page.count("number 1") == 2
    assert ours in page
    assert platform in page

    for address in (ours, platform):
        answer = root.get(address)
        assert "It is as it was sealed." in answer.content.decode()
        assert answer.context["report"].records == 1
    with connection.cursor() as cursor:
        cursor.execute("alter table events_auditrecord disable trigger all")
        cursor.execute("update events_auditrecord set actor = '<b>eve' where project_id is null")
        cursor.execute("alter table events_auditrecord enable trigger all")
    told = root.get(platform).content.decode()
    assert "It is not as it was sealed." in told
    assert "number 1, is not what was sealed." in told
    assert "It is as it was sealed." in root.get(ours).content.decode()


def test_who_may_not_see_the_audit_record_may_not_verify_it(client: Client) -> None:
    assert client.get("/admin/events/auditrecord/verify/platform/").status_code == 302
    client.force_login(User.objects.create_user("nobody", is_staff=True))
    assert client.get("/admin/events/auditrecord/verify/platform/").status_code == 403


def test_heads_that_cannot_be_read_are_said_to_be_so(root: Client, tmp_path: Path, settings: Any) -> None:
    (tmp_path / "heads/2026-11").mkdir(parents=True)
    (tmp_path / "heads/2026-11/23T10Z.json").mkdir()
    settings.STORAGE_URL = f"file://{tmp_path}"
    audit.record(action="key.revoke", actor="key:abc", subject_type="key", subject_id="s-2")
    sealing.seal()

    assert "It was not verified" in root.get("/admin/events/auditrecord/verify/platform/").content.decode()
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("verify_audit")
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("export_audit", project="platform", out=str(tmp_path / "out"))


@pytest.mark.parametrize("path", ["auditrecord", "consumer", "event"])
def test_nothing_of_the_log_is_changed_by_hand(root: Client, path: str) -> None:
    record: Any = audit.record(action="job.cancel", actor="user:olga", subject_type="job", subject_id="s-1")
    key = {"auditrecord": record.pk, "consumer": Consumer.objects.get_or_create(name="index")[0].pk, "event": 1}[path]

    answers = [
        root.get(f"/admin/events/{path}/add/").status_code,
        root.post(f"/admin/events/{path}/{key}/delete/", {"post": "yes"}).status_code,
        root.post(f"/admin/events/{path}/{key}/change/", {"reason": "other", "error": "other"}).status_code,
    ]

    assert set(answers) <= {403, 404}
