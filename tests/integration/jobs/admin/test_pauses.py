"""Pauses in the admin: begun and ended with a reason, by whoever may."""

import pytest
from django.test import Client

from events.models import AuditRecord
from jobs.models import Pause, Shelf
from tests.integration.jobs.admin.conftest import OURS, Make

ADD = "/admin/jobs/pause/add/"
EMPTY = {"kind": "", "queue": "", "project_id": "", "until_0": "", "until_1": "", "reason": "the provider is down"}


def test_an_operator_pauses_a_kind_and_ends_it(operator: Client, make: Make) -> None:
    make()
    begun = operator.post(ADD, EMPTY | {"kind": "shop.pay"})
    assert begun.status_code == 302, begun.content.decode()
    held = Shelf.objects.get().paused
    row = Pause.objects.get()

    listed = operator.get("/admin/jobs/pause/").content.decode()
    operator.post(f"/admin/jobs/pause/{row.pk}/delete/", {"post": "yes"})

    assert held
    assert "shop.pay" in listed
    assert "the provider is down" in listed
    assert (row.project_id, row.actor, row.reason) == (None, "user:olga", "the provider is down")
    assert not Shelf.objects.get().paused
    assert not Pause.objects.exists()
    acts = AuditRecord.objects.filter(subject_type="pause").order_by("id").values_list("action", "actor")
    assert list(acts) == [("pause.begin", "user:olga"), ("pause.end", "user:olga")]


def test_a_project_is_paused_until_a_time(operator: Client) -> None:
    form = EMPTY | {"project_id": str(OURS), "until_0": "2100-01-01", "until_1": "00:00:00"}

    assert operator.post(ADD, form).status_code == 302

    row = Pause.objects.get()
    assert (row.project_id, row.kind, row.until and row.until.year) == (OURS, None, 2100)


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        ({}, "A pause names a project, a kind or a queue."),
        ({"kind": "shop.nothing"}, "There is no such kind."),
        ({"kind": "shop.pay", "reason": ""}, "required"),
        ({"kind": "shop.pay", "until_0": "2020-01-01", "until_1": "00:00:00"}, "until is over already"),
        ({"project_id": "x"}, "valid UUID"),
    ],
)
def test_a_pause_that_does_not_fit_is_shown_again(operator: Client, form: dict[str, str], complaint: str) -> None:
    answer = operator.post(ADD, EMPTY | form)

    assert complaint in answer.content.decode()
    assert not Pause.objects.exists()


def test_a_viewer_looks_only(viewer: Client) -> None:
    row = Pause.objects.create(id=OURS, kind="shop.pay", reason="x", actor="y")

    assert viewer.get("/admin/jobs/pause/").status_code == 200
    assert viewer.post(ADD, EMPTY | {"kind": "shop.pay"}).status_code == 403
    assert viewer.post(f"/admin/jobs/pause/{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Pause.objects.count() == 1
