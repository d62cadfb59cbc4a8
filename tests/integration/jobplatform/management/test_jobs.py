"""`manage.py jobs` on a database: what it prints, what it changes, and how it ends."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command

from events.models import AuditRecord
from jobplatform.management import terminal
from jobs import services
from jobs.models import Job
from tests.integration.jobs.conftest import kinds
from tests.integration.projects.conftest import Tenant, make_tenant, ours

__all__ = ["kinds", "ours"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kinds")]

Say = Callable[..., str]


def say(*arguments: object) -> str:
    """What the command prints."""
    out = io.StringIO()
    call_command("jobs", *map(str, arguments), stdout=out)
    return out.getvalue()


def lines(*arguments: object) -> list[Any]:
    """What it prints for a program."""
    return [json.loads(line) for line in say(*arguments, "--json").splitlines()]


def make(tenant: Tenant, **columns: Any) -> UUID:
    job_id = services.submit(project_id=tenant.project.id, kind="parcel.store", payload={"n": 1})
    Job.objects.filter(id=job_id).update(**{"seq": 1, **columns})
    return job_id


def failure(*arguments: object) -> tuple[int, str]:
    """Exit code and sentence of a call that does not work."""
    with pytest.raises(CommandError) as caught:
        say(*arguments)
    return caught.value.returncode, str(caught.value)


def test_a_job_is_created_shown_cancelled_and_queued_again(ours: Tenant) -> None:
    options = ("--lane", "a", "--priority", "3", "--due", "2040-01-01T00:00:00Z", "--metadata", "order=7=8")
    (made,) = lines("submit", "parcel.send", '{"parcel_id": "P-1"}', *options)

    assert (made["status"], made["lane"], made["priority"]) == ("queued", "a", 3)
    assert (made["payload"], made["metadata"]) == ({"parcel_id": "P-1"}, {"order": "7=8"})
    assert made["due_at"] == "2040-01-01T00:00:00Z"
    assert [event["type"] for event in lines("show", made["id"])[0]["events"]] == ["job.queued"]

    assert "cancelled" in say("cancel", made["id"], "--reason", "no longer wanted")
    assert lines("retry", made["id"])[0]["status"] == "queued"
    acts = [(a.action, a.reason) for a in AuditRecord.objects.filter(subject_id=made["id"]).order_by("id")]
    assert acts == [("job.cancel", "no longer wanted"), ("job.retry", "")]
    assert all(a.actor.startswith("cli:") for a in AuditRecord.objects.filter(subject_id=made["id"]))
    shown = lines("show", made["id"])[0]
    assert (shown["job"]["id"], shown["explain"]["code"], shown["attempts"]) == (made["id"], "no_worker", [])


def test_a_payload_may_come_from_a_file(ours: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "payload.json"
    file.write_text('{"parcel_id": "P-2"}')

    assert lines("submit", "parcel.send", f"@{file}")[0]["payload"] == {"parcel_id": "P-2"}
    assert failure("submit", "parcel.send", f"@{tmp_path}/none")[0] == 2


def test_the_list_is_filtered_and_newest_first(ours: Tenant) -> None:
    first, second = make(ours), make(ours, status="failed", error={"code": "worker_died"})

    assert [job["id"] for job in lines("list")] == [str(second), str(first)]
    assert [job["id"] for job in lines("list", "--limit", 1)] == [str(second)]
    for option in (("--status", "failed"), ("--error-code", "worker_died")):
        assert [job["id"] for job in lines("list", *option)] == [str(second)]
    for option in (
        ("--kind", "no.such"),
        ("--lane", "x"),
        ("--metadata", "a=b"),
        ("--created-before", "2020-01-01T00:00:00Z"),
    ):
        assert lines("list", *option) == []
    shown = say("list")
    assert "worker_died" in shown
    assert str(first) in shown
    assert failure("list", "--limit", 0)[0] == 2


def test_of_several_projects_one_is_named_and_only_its_jobs_are_reached(ours: Tenant) -> None:
    theirs = make_tenant("Theirs")
    mine, others = make(ours), make(theirs)

    code, sentence = failure("list")
    assert (code, ours.project.slug in sentence, theirs.project.slug in sentence) == (2, True, True)
    assert failure("list", "--project", "nobody")[0] == 2
    for name in (ours.project.slug, ours.project.id):
        assert [job["id"] for job in lines("list", "--project", name)] == [str(mine)]
    for act in ("show", "cancel", "retry", "watch"):
        code, sentence = failure(act, others, "--project", ours.project.slug)
        assert (code, "job_not_found" in sentence) == (1, True)
    assert failure("tail", "--job", others, "--project", ours.project.slug)[0] == 1


def test_without_a_project_it_says_so() -> None:
    assert failure("list") == (2, "Name one by --project. There is no project yet.")


@pytest.mark.parametrize(
    "arguments, code, said",
    [
        (("submit", "no.such"), 1, "unknown_kind"),
        (("submit", "parcel.send", "{"), 1, "invalid_json"),
        (("submit", "parcel.send", "{}"), 1, "/payload/parcel_id"),
        (("submit", "parcel.send", '{"parcel_id": "x"}', "--priority", "1000"), 1, "/priority"),
        (("submit", "parcel.send", '{"parcel_id": "x"}', "--due", "soon"), 1, "/due_at"),
        (("show", uuid4()), 1, "job_not_found"),
    ],
)
def test_what_is_refused_is_said_in_a_sentence(ours: Tenant, arguments: tuple[Any, ...], code: int, said: str) -> None:
    found, sentence = failure(*arguments)

    assert found == code
    assert said in sentence


@pytest.mark.parametrize(
    "arguments", [("list", "--status", "nowhere"), ("show", "no-id"), ("tail", "--after", "x"), ()]
)
def test_what_the_command_line_does_not_know_is_an_error(ours: Tenant, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        say(*arguments)


@pytest.mark.parametrize("status, code", [("processed", 0), ("failed", 1), ("blocked", 1), ("cancelled", 1)])
def test_watching_what_has_ended_says_whether_it_ended_well(ours: Tenant, status: str, code: int) -> None:
    good, job_id = make(ours, status="processed"), make(ours, status=status, error={"code": "c", "message": "m"})

    out = io.StringIO()
    if code:
        with pytest.raises(SystemExit) as caught:
            call_command("jobs", "watch", str(good), str(job_id), "--json", stdout=out)
        assert caught.value.code == code
    else:
        call_command("jobs", "watch", str(good), str(job_id), "--json", stdout=out)
    assert [json.loads(line)["status"] for line in out.getvalue().splitlines()] == ["processed", status]


def test_watching_ends_when_patience_does(ours: Tenant) -> None:
    make(ours)

    with pytest.raises(SystemExit) as caught:
        say("watch", "--timeout", 0)

    assert caught.value.code == 124
    Job.objects.update(status="processed")
    assert say("watch") == ""


def test_what_tenants_wrote_cannot_steer_a_terminal(ours: Tenant) -> None:
    job_id = make(ours, status="failed", error={"code": "c\x1b[2J", "message": "[bold]\x9b31m\r\n"})

    for shown in (say("list"), say("show", job_id)):
        assert not [sign for sign in shown if not (sign.isprintable() or sign == "\n")]
    assert (
        terminal.printable("a\x1b[31m\u202eb\n")
        == "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    )
