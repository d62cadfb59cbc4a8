"""An operator's day in the admin, in a real browser before the real platform."""

import json
import re

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.stage import PASSWORD, Stage, Visitor, soon, visit
from tests.corpora.markup import MARKUP

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def test_whoever_signs_in_sees_the_front_page(visitor: Visitor, stage: Stage) -> None:
    job = stage.submit("payment.capture", {"order_id": "o-1", "amount": 0})
    stage.wait_for(job, "blocked")

    visitor.sign_in("olga")

    page = visitor.page
    expect(page.get_by_role("heading", name="Needs a person")).to_be_visible()
    expect(page.locator("#front-page")).to_contain_text("Nobody knows what to capture.")
    expect(page.locator("#front-page")).to_contain_text("live")
    expect(page.get_by_role("link", name="Flower")).to_have_attribute("href", "http://127.0.0.1:5555")
    expect(page.get_by_role("link", name="API documentation")).to_have_attribute("href", "/api/v1/docs")


def test_a_wrong_password_is_refused(visitor: Visitor) -> None:
    visitor.go("/admin/")
    visitor.page.get_by_label("Username").fill("olga")
    visitor.page.locator("#id_password").fill(PASSWORD[::-1])
    visitor.page.get_by_role("button", name="Log in").click()

    expect(visitor.page.locator("body")).to_contain_text("Please enter the correct username and password")


def test_jobs_are_listed_filtered_and_opened(visitor: Visitor, stage: Stage) -> None:
    dead = stage.submit("payment.capture", {"order_id": "o-2", "amount": 2000}, metadata={"order": "o-2"})
    fine = stage.submit("payment.capture", {"order_id": "o-3", "amount": 20})
    stage.wait_for(dead, "failed")
    stage.wait_for(fine, "processed")
    visitor.come_in("vera")
    page = visitor.page

    visitor.go("/admin/")
    page.locator("#nav-sidebar-apps a", has_text="Jobs").click()
    expect(page.locator("#result_list")).to_contain_text(str(fine))
    page.locator("a", has_text="Filters").click()
    page.locator("select[name=status]").select_option("failed")
    page.get_by_role("button", name="Apply Filters").click()
    expect(page.locator("#result_list")).to_contain_text(str(dead))
    expect(page.locator("#result_list")).not_to_contain_text(str(fine))

    page.locator("#searchbar").fill("order=o-2")
    page.locator("#searchbar").press("Enter")
    page.locator("#result_list").get_by_text(str(dead)).click()

    expect(page.locator("#job-id")).to_have_text(str(dead))
    expect(page.locator("#error")).to_contain_text("The payment provider did not answer within 30 s.")
    expect(page.locator(".jp-span")).to_have_count(6)
    expect(page.locator("#attempts tbody tr")).to_have_count(3)
    expect(page.locator("#attempts")).to_contain_text("asking the payment provider")
    expect(page.locator("#payload")).to_contain_text('"order_id": "o-2"')
    expect(page.get_by_role("link", name="Retry")).to_have_count(0)  # vera only looks


def test_a_waiting_job_is_cancelled(visitor: Visitor, stage: Stage) -> None:
    job = stage.submit("payment.capture", {"order_id": "o-4", "amount": 5}, due_at=soon())
    visitor.come_in("olga")
    visitor.go(f"/admin/jobs/job/{job}/change/")
    page = visitor.page

    page.get_by_role("link", name="Cancel").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#act-form")).to_contain_text("This field is required.")
    page.get_by_label("Reason").fill("ordered twice")
    page.get_by_role("button", name="Cancel").click()

    expect(page.locator("#live .jp-badge").first).to_contain_text("cancelled")
    expect(page.locator("#audit")).to_contain_text("ordered twice")
    assert stage.platform.job(job)["status"] == "cancelled"
    assert stage.audit(job) == [("user:olga", "job.cancel", "ordered twice")]


def test_a_running_job_shows_its_progress_and_stops_on_request(visitor: Visitor, stage: Stage) -> None:
    job = stage.submit("customer.import", {"customer": "acme"})
    stage.wait_for(job, "processing")
    visitor.come_in("olga")
    visitor.go(f"/admin/jobs/job/{job}/change/")
    page = visitor.page

    note = page.locator(".jp-progress-row")
    expect(note).to_contain_text(re.compile(r"record \d+"))
    first = note.inner_text()
    expect(note).not_to_have_text(first)  # the page looks it up again

    page.get_by_role("link", name="Cancel").click()
    page.get_by_label("Reason").fill("the customer has left")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("body")).to_contain_text("was asked to stop")
    expect(page.locator("#live .jp-badge").first).to_contain_text("cancelled")  # without loading it anew

    stage.wait_for(job, "cancelled")


def test_a_dead_letter_is_retried_with_a_reason(visitor: Visitor, stage: Stage) -> None:
    job = stage.submit("payment.capture", {"order_id": "o-5", "amount": 2000})
    stage.wait_for(job, "failed")
    visitor.come_in("olga")
    visitor.go(f"/admin/jobs/job/{job}/change/")
    page = visitor.page

    page.get_by_role("link", name="Retry", exact=True).click()
    page.get_by_label("Reason").fill("the provider is back")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("body")).to_contain_text("was queued again")

    stage.wait_for(job, "failed")
    stage.platform.wait_until(lambda: len(stage.platform.attempts(job)) == 6, "three more attempts")
    assert stage.audit(job) == [("user:olga", "job.retry", "the provider is back")]


def test_a_payload_is_corrected_and_the_job_succeeds(visitor: Visitor, stage: Stage) -> None:
    job = stage.submit("payment.capture", {"order_id": "o-6", "amount": -3})
    stage.wait_for(job, "rejected")
    visitor.come_in("olga")
    visitor.go(f"/admin/jobs/job/{job}/change/")
    page = visitor.page

    page.get_by_role("link", name="Edit payload and retry").click()
    editor = page.get_by_label("Payload")
    payload = json.loads(editor.input_value())
    page.get_by_label("Reason").fill("the sign was wrong")
    editor.fill(json.dumps(payload | {"amount": "three"}))
    page.get_by_role("button", name="Edit payload and retry").click()
    expect(page.locator("#act-form")).to_contain_text("amount: Input should be a valid number")

    editor.fill(json.dumps(payload | {"amount": 3}))
    page.get_by_role("button", name="Edit payload and retry").click()
    stage.wait_for(job, "processed")

    visitor.go(f"/admin/jobs/job/{job}/change/")
    expect(page.locator("#output")).to_contain_text('"captured": 3')
    assert stage.audit(job) == [("user:olga", "job.edit_and_retry", "the sign was wrong")]


def test_selected_jobs_are_retried_together(visitor: Visitor, stage: Stage) -> None:
    jobs = [stage.submit("payment.capture", {"order_id": "o-7", "amount": -1}, metadata={"lot": "seven"}) for _ in "ab"]
    for job in jobs:
        stage.wait_for(job, "rejected")
    visitor.come_in("olga")
    visitor.go("/admin/jobs/job/?q=lot%3Dseven")
    page = visitor.page

    for box in page.locator("#result_list input.action-select").all():
        box.check()
    page.locator("select[name=action]").select_option("retry_selected")
    page.get_by_role("button", name="Run").click()
    page.get_by_label("Reason").fill("try the lot again")
    page.get_by_role("button", name="Retry").click()

    expect(page.locator("body")).to_contain_text("2 jobs were queued again.")
    assert [stage.audit(job)[0][2] for job in jobs] == ["try the lot again"] * 2


def test_what_a_handler_wrote_does_not_run(visitor: Visitor, stage: Stage) -> None:
    jobs = [stage.submit("text.repeat", {"text": text}, metadata={"text": text}) for text in MARKUP if "\0" not in text]
    for job in jobs:
        stage.wait_for(job, "failed")
    visitor.come_in("olga")
    page = visitor.page

    for path in ("/admin/", "/admin/jobs/job/", "/admin/jobs/job/attempts/", "/admin/events/event/"):
        visitor.go(path)
        expect(page.locator("x-evil")).to_have_count(0)
    for job in jobs:
        visitor.go(f"/admin/jobs/job/{job}/change/")
        expect(page.locator("#error")).to_be_visible()
        expect(page.locator("x-evil")).to_have_count(0)


PLACES = [
    "/admin/",
    "/admin/jobs/job/",
    "/admin/jobs/job/attempts/",
    "/admin/jobs/worker/",
    "/admin/jobs/shelf/",
    "/admin/jobs/kindsettings/",
    "/admin/jobs/intervention/",
    "/admin/events/event/",
    "/admin/events/consumer/",
    "/admin/events/auditrecord/",
    "/admin/django_celery_beat/periodictask/",
    "/admin/django_celery_beat/periodictask/add/",
    "/admin/projects/project/",
    "/admin/ingestion/message/",
]


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["laptop", "phone"])
def test_every_page_fits_its_window_and_says_nothing_in_the_console(
    browser: Browser, stage: Stage, size: tuple[int, int]
) -> None:
    job = stage.submit(
        "payment.capture", {"order_id": "o-8", "amount": 2000, "currency": "USD"}, metadata={"a": "b" * 300}
    )
    stage.wait_for(job, "failed")
    own = [f"/admin/jobs/job/{job}/{page}/" for page in ("change", "retry", "edit-and-retry")]

    with visit(browser, stage.base_url, width=size[0], height=size[1]) as visitor:
        visitor.come_in("olga")
        wide = {}
        for path in [*PLACES, *own]:
            visitor.go(path)
            if overflow := visitor.overflow():
                wide[path] = overflow
        assert wide == {}
        assert visitor.complaints == []


def test_pages_forbid_what_they_do_not_need(visitor: Visitor) -> None:
    answer = visitor.page.goto(f"{visitor.base_url}/admin/login/")

    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self' 'unsafe-eval';" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-frame-options"] == "DENY"
