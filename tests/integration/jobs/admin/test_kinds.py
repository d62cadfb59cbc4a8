"""Kinds in the admin: what the code says, what is set, a trial on history, and who may do what."""

import datetime as dt
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from events.models import AuditRecord
from jobs import Limit, Retry, handler, hindsight, registry, tuning
from jobs.admin.kinds import lines_of
from jobs.hindsight import Hindsight
from jobs.models import Attempt, Job, KindSettings, LimitRule
from jobs.states import Status
from tests.corpora.markup import MARKUP, harm_in, text_of
from tests.integration.jobs.admin.conftest import Make, Order

LIST = "/admin/jobs/kindsettings/"
PAGE = f"{LIST}shop.pay/change/"
EMPTY = dict.fromkeys(tuning.NAMES, "") | {"reason": "the provider is slow", "days": "7", "version": "0"}


@pytest.fixture(autouse=True)
def looked_up_anew(kinds: None) -> Any:
    """Nothing is known of settings before and after."""
    tuning.forget()
    yield
    tuning.forget()


def settings() -> dict[str, float]:
    row = KindSettings.objects.filter(kind="shop.pay").first()
    return tuning.of_row(row).set()


def test_an_operator_sets_a_kind_and_resets_it(operator: Client) -> None:
    answer = operator.post(PAGE, EMPTY | {"save": "1", "max_attempts": "7", "first": "0.5"}, follow=True)
    tuning.refresh()
    said = text_of(answer.content.decode())

    assert "shop.pay is set. Every process knows within a few seconds of work." in said
    assert settings() == {"max_attempts": 7, "first": 0.5}
    assert registry.get("shop.pay").retry.max_attempts == 7
    listed = text_of(operator.get(LIST).content.decode())
    assert "7" in listed
    assert "0.5 s code: 1 s" in listed
    for part in ("Attempts 3 7 7", "First delay 1 s 0.5 s 0.5 s", "Timeout 300 s – 300 s", "user:olga"):
        assert part in " ".join(said.split()), part

    reset = operator.post(PAGE, EMPTY | {"reset": "1", "version": "1", "reason": "it is fast", "max_attempts": "junk"})
    tuning.refresh()

    assert reset.status_code == 302, reset.content.decode()
    assert settings() == {}
    assert registry.get("shop.pay").retry.max_attempts == 3
    acts = AuditRecord.objects.filter(subject_type="kind").order_by("id").values_list("action", "actor", "reason")
    assert list(acts) == [
        ("kind.tune", "user:olga", "the provider is slow"), ("kind.reset", "user:olga", "it is fast"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"reason": ""}, "required"),
        ({"max_attempts": "0"}, "max_attempts wants 1 to 100."),
        ({"max_attempts": "many"}, "whole number"),
        ({"timeout": "nan"}, "Enter a number"),
        ({"timeout": "1e9"}, "timeout wants"),
        ({"first": "9999"}, "longer than the longest"),
        ({"version": "5"}, "Somebody else has changed"),
        ({"version": ""}, "load this page anew"),
        ({"priority": "99999999999999999999"}, "-100 to 100"),
    ],
)
def test_what_does_not_fit_is_shown_again(operator: Client, given: dict[str, str], complaint: str) -> None:
    answer = operator.post(PAGE, EMPTY | {"save": "1", "timeout": "5"} | given)

    assert answer.status_code == 200
    assert complaint in text_of(answer.content.decode())
    assert not KindSettings.objects.exists()


def test_nothing_to_change_is_said(operator: Client) -> None:
    assert "is set so already" in text_of(operator.post(PAGE, EMPTY | {"save": "1"}).content.decode())


def test_a_trial_needs_no_reason_and_saves_nothing(operator: Client, make: Make) -> None:
    job = make(status=Status.FAILED, attempt=3)
    now = timezone.now()
    error = {"code": "busy", "message": "x", "retryable": True, "fingerprint": "f"}
    Attempt.objects.create(
        job_id=job.id, project_id=job.project_id, claim_no=3, attempt=3, stage="process", outcome="failed",
        started_at=now - dt.timedelta(seconds=9), ended_at=now, error=error,
    )  # fmt: skip
    before = (AuditRecord.objects.count(), list(Job.objects.values()))

    page = operator.post(PAGE, EMPTY | {"try": "1", "reason": "", "max_attempts": "4", "timeout": "5"})
    said = text_of(page.content.decode())

    for part in (
        "Of 1 job created in the last 7 days, with 1 ended attempt:", "1 job that failed would have been retried.",
        "0 jobs that succeeded on a later attempt would have failed.", "1 attempt would have been ended by the timeout",
        "1 attempt would have been late.", "Delays between attempts: 1 s, 2 s, 4 s.", "Nothing was saved.",
    ):  # fmt: skip
        assert part in said, part
    assert 'value="4"' in page.content.decode()
    assert not KindSettings.objects.exists()
    assert (AuditRecord.objects.count(), list(Job.objects.values())) == before
    assert registry.get("shop.pay").retry.max_attempts == 3


def test_a_trial_that_was_cut_says_so() -> None:
    seen = Hindsight(1, looked_at=100_000, back_to=dt.datetime(2026, 1, 2, tzinfo=dt.UTC), delays=[1.0] * 8)
    kind = tuning.tuned(registry.get("shop.pay"), tuning.Settings(max_attempts=20))

    said = lines_of(kind, seen)

    assert said[0].startswith("Of 0 jobs created in the last day")
    assert said[-2] == "Delays between attempts: 1 s, 1 s, 1 s, 1 s, 1 s, 1 s, 1 s, 1 s, ..."
    assert (
        said[-1]
        == "Not all was looked at: 100,000 attempts of all kinds, of jobs created since 2026-01-02 00:00:00 UTC."
    )


def test_history_is_one_of_the_choices(operator: Client) -> None:
    page = operator.post(PAGE, EMPTY | {"try": "1", "days": "3650"}).content.decode()

    assert "not one of the available choices" in text_of(page)
    assert hindsight.DAYS == (1, 7, 30)


def test_a_viewer_looks_only(viewer: Client) -> None:
    page = viewer.get(PAGE)

    assert viewer.get(LIST).status_code == page.status_code == 200
    assert "kind-form" not in page.content.decode()
    for verb in ("save", "try", "reset"):
        assert viewer.post(PAGE, EMPTY | {verb: "1", "timeout": "5"}).status_code == 403
    assert not KindSettings.objects.exists()


def test_a_stranger_sees_nothing(stranger: Client) -> None:
    assert (stranger.get(LIST).status_code, stranger.get(PAGE).status_code) == (403, 403)


def test_without_its_token_a_form_is_refused(operator: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies

    assert strict.post(PAGE, EMPTY | {"save": "1", "timeout": "5"}).status_code == 403
    assert not KindSettings.objects.exists()


def test_there_is_nothing_to_add_or_delete(operator: Client) -> None:
    KindSettings.objects.create(kind="shop.pay", timeout=5, version=1, updated_by="x", reason="x")

    assert operator.get(f"{LIST}add/").status_code == 403
    assert operator.post(f"{LIST}shop.pay/delete/", {"post": "yes"}).status_code == 403
    assert operator.get(f"{LIST}shop.nothing/change/").status_code == 404
    assert settings() == {"timeout": 5}


def test_a_row_that_does_not_fit_is_shown_as_ignored_and_can_be_reset(operator: Client) -> None:
    KindSettings.objects.create(kind="shop.pay", cap=0.5, version=4, updated_by="x", reason="x")
    KindSettings.objects.create(kind="shop.gone", timeout=5, version=3, updated_by="x", reason="x")

    listed = text_of(operator.get(LIST).content.decode())
    page = text_of(operator.get(PAGE).content.decode())

    assert "ignored" in listed
    assert "shop.gone was set" in listed
    assert "does not fit the code any more, and is ignored" in page
    assert operator.post(PAGE, EMPTY | {"reset": "1", "version": "4"}).status_code == 302
    assert settings() == {}


def test_a_one_shot_kind_has_its_retries_greyed_out(operator: Client) -> None:
    handler("shop.burn", payload=Order, retry=Retry.never())(registry.get("shop.pay").handle)
    page = f"{LIST}shop.burn/change/"

    operator.post(page, EMPTY | {"save": "1", "max_attempts": "5", "timeout": "5"})

    row = KindSettings.objects.get()
    assert tuning.of_row(row).set() == {"timeout": 5}
    assert "It runs once at most, and alone." in text_of(operator.get(page).content.decode())


def test_a_name_with_an_underscore_has_a_page(operator: Client) -> None:
    handler("shop_5f.pay", payload=Order)(registry.get("shop.pay").handle)
    listed = operator.get(LIST).content.decode()

    assert f"{LIST}shop_5F5f.pay/change/" in listed
    for address in ("shop_5F5f.pay", "shop_5f.pay"):
        assert "shop_5f.pay" in text_of(operator.get(f"{LIST}{address}/change/").content.decode())


def test_limits_and_kinds_lead_to_one_another(operator: Client) -> None:
    handler("shop.ship", payload=Order, limit=Limit(concurrency=2, name="carrier"))(registry.get("shop.pay").handle)
    LimitRule.objects.create(name="carrier", concurrency=1)

    page = operator.get(f"{LIST}shop.ship/change/").content.decode()
    rules = operator.get("/admin/jobs/limitrule/").content.decode()

    assert "/admin/jobs/limitrule/?q=carrier" in page
    assert "/admin/jobs/limitkey/?q=carrier" in page
    assert f"{LIST}shop.ship/change/" in rules


@pytest.mark.parametrize("text", MARKUP)
def test_what_people_write_is_shown_as_text(operator: Client, text: str) -> None:
    operator.post(PAGE, EMPTY | {"save": "1", "timeout": "5", "reason": f"xx {text}"[:500]})

    for answer in (operator.get(PAGE), operator.get(LIST, {"q": text})):
        assert answer.status_code == 200
        assert harm_in(answer.content.decode()) == []


def test_the_list_is_searched(operator: Client) -> None:
    assert "shop.pay" in operator.get(LIST, {"q": "SHOP.P"}).content.decode()
    assert "No kind is named so." in operator.get(LIST, {"q": "nothing"}).content.decode()
