"""Every address that names something, asked by another tenant: 404, as if it were not there. And no list shows it.

The addresses are read from the routes, so a new one is tried as soon as it exists; one that names a thing of a new sort
must be given one of the other tenant's.
"""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone
from uuid_utils.compat import uuid7

from confirmations.models import Confirmation, Contract, Network, Signer
from events.streams import StreamView
from jobplatform.api.views import ApiView
from jobs import batches, bulk, pauses, schedules
from jobs.models import Intervention
from jobs.schedules import NewSchedule
from reconciliation.models import Alarm, AlarmRule, Cause
from reconciliation.services import plans
from reconciliation.services.plans import Plan
from tests.integration.jobs.conftest import JOBS, Make
from tests.integration.projects.conftest import Tenant
from tests.integration.test_routes import METHODS, Route, of_the_api

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kinds")]

NOBODYS = {"kind", "signer_id", "platform_alarm_id"}
"""Names of things that belong to no tenant."""


@pytest.fixture
def of_theirs(make: Make, theirs: Tenant, settings: Any, tmp_path: Any) -> dict[str, str]:
    """By the name that a route gives it, a thing of the other tenant."""
    settings.STORAGE_URL = f"file://{tmp_path}/storage"
    body = {
        "metadata": {
            "message_time": "2026-11-22T06:00:00Z",
            "company_id": str(uuid7()),
            "message_id": str(uuid7()),
        },
        "data": {"order_id": "A-1"},
    }
    message = Client().post("/api/v1/messages", body, content_type="application/json", headers=theirs.headers)
    assert message.status_code == 202, message.content
    job_id = str(make(key=theirs.text, metadata={"secret": "theirs"}, status="blocked"))
    _confirm(theirs.project.id, UUID(job_id))
    asked = Intervention.objects.create(
        id=uuid7(),
        project_id=theirs.project.id,
        subject_type="job",
        subject_id=job_id,
        reason="secret",
        actions=["skip"],
    )
    return {
        "job_id": job_id,
        "intervention_id": str(asked.id),
        "pause_id": str(pauses.pause(actor="theirs", reason="theirs", project_id=theirs.project.id).id),
        "batch_id": str(batches.create(project_id=theirs.project.id, requests=[])[0]),
        "act_id": str(
            bulk.begin(
                project_id=theirs.project.id, verb="cancel", stored={"kind": "x.y"}, actor="theirs", reason="theirs"
            ).id
        ),
        "schedule_id": str(
            schedules.create(
                project_id=theirs.project.id,
                new=NewSchedule(name="theirs", kind="parcel.store", every=60),
                actor="theirs",
            ).id
        ),
        "redrive_id": _redrive(theirs.project.id),
        "alarm_id": _alarm(theirs.project.id),
        "fingerprint": _cause(theirs.project.id, UUID(job_id)),
        "project_id": str(theirs.project.id),
        "key_id": theirs.key_id,
        "id_": message.json()["id"],
    }


def _redrive(project_id: UUID) -> str:
    plan = Plan(filter={"kind": "x.y"})
    return str(plans.begin(project_id=project_id, plan=plan, actor="theirs", reason="theirs").id)


def _cause(project_id: UUID, job_id: UUID) -> str:
    Cause.objects.create(
        project_id=project_id, fingerprint="0123456789abcdef", kind="x.y", code="secret", message="theirs",
        sample_id=job_id, first_at=timezone.now(), last_at=timezone.now(), total=1, dead=1,
    )  # fmt: skip
    return "0123456789abcdef"


def _alarm(project_id: UUID) -> str:
    rule = AlarmRule.objects.create(id=uuid7(), name="theirs", measure="dead_letters", threshold=1, clears_at=1)
    alarm = Alarm.objects.create(
        id=uuid7(), rule=rule, name="theirs", measure="dead_letters", project_id=project_id, severity="warn",
        threshold=1, state="firing", value=2, worst=2, since=timezone.now(),
    )  # fmt: skip
    return str(alarm.id)


def _confirm(project_id: UUID, job_id: UUID) -> None:
    network = Network.objects.create(chain_id=1, name="chain")
    contract = Contract.objects.create(id=uuid7(), network=network, address=bytes(20), deploy_block=1, next_block=1)
    signer = Signer.objects.create(id=uuid7(), network=network, address=bytes(20))
    Confirmation.objects.create(
        id=job_id, project_id=project_id, contract=contract, signer=signer, mode="single", result_hash=bytes(32),
        kind="parcel.store",
    )  # fmt: skip


def named() -> list[Route]:
    """Routes that name something of a tenant."""
    return [route for route in of_the_api() if set(_names(route)) - NOBODYS]


def _names(route: Route) -> list[str]:
    return re.findall(r"<(?:\w+:)?(\w+)>", route.pattern)


def calls(route: Route, things: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Method and path of each way to reach a thing of the other tenant by a route."""
    path = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: things[found[1]], route.pattern)
    for method in METHODS:
        if hasattr(route.view_class, method):
            yield method.upper(), f"/{path}"


def test_there_is_something_to_try(of_theirs: dict[str, str]) -> None:
    assert len(named()) > 8
    assert {name for route in named() for name in _names(route)} - NOBODYS == set(of_theirs)


@pytest.mark.parametrize("route", named(), ids=lambda route: route.pattern)
def test_what_belongs_to_another_tenant_is_not_there(
    route: Route, of_theirs: dict[str, str], ours: Tenant, theirs: Tenant
) -> None:
    client = Client(raise_request_exception=False)
    for method, path in calls(route, of_theirs):
        mine = client.generic(method, path, b"", headers=ours.headers)
        assert mine.status_code == 404, (method, path, mine.content)
        assert "theirs" not in mine.content.decode().lower()
        own = client.generic(method, path, b"", headers=theirs.headers)
        assert own.content != mine.content, (method, path)


def lists() -> list[Route]:
    return [
        route
        for route in of_the_api()
        if not _names(route)
        and issubclass(route.view_class, ApiView)
        and hasattr(route.view_class, "get")
        and not issubclass(route.view_class, StreamView)  # tests/integration/jobplatform/test_live.py
    ]


@pytest.mark.parametrize("route", lists(), ids=lambda route: route.pattern)
def test_no_list_shows_what_belongs_to_another_tenant(
    route: Route, of_theirs: dict[str, str], ours: Tenant, theirs: Tenant
) -> None:
    answer = Client().get(f"/{route.path}", headers=ours.headers)

    assert answer.status_code == 200
    text = json.dumps(answer.json())
    assert [thing for thing in (*of_theirs.values(), str(theirs.project.id)) if thing in text] == []


def test_another_tenants_filters_find_nothing(of_theirs: dict[str, str], ours: Tenant) -> None:
    for path in (
        f"{JOBS}?metadata.secret=theirs",
        f"/api/v1/events?subject_id={of_theirs['job_id']}",
        "/api/v1/events?after=0",
    ):
        assert Client().get(path, headers=ours.headers).json()["results"] == []


def test_another_tenants_cursor_shows_our_list(make: Make, ours: Tenant, theirs: Tenant) -> None:
    for _ in range(3):
        make(key=theirs.text)
    mine = make()
    client = Client()
    link = client.get(f"{JOBS}?limit=1", headers=theirs.headers).json()["next"]
    shown = client.get(link, headers=ours.headers).json()["results"]

    assert {UUID(job["id"]) for job in shown} <= {mine}
