"""A provider was down: an operator goes from the front page to the all-clear, in a real browser and without SQL."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.stage import Stage, Visitor, visit
from tests.browser.test_front_page import FAINT

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

LETTERS = "/admin/reconciliation/redrive/dead-letters/"
DOWN = 60
ARROW = "expand_more"  # the theme's sign of a list of choices


@pytest.fixture
def provider(tmp_path: Path) -> Path:
    """A provider that is down: the file is not there."""
    return tmp_path / "provider"


@pytest.fixture
def incident(stage: Stage, provider: Path) -> Path:
    """What it leaves behind: dead letters of three causes, most of them the provider's."""
    dead = "select count(*) from reconciliation_deadletter where dead and kind = 'invoice.send'"
    before = stage.platform.value(dead)
    for number in range(DOWN):
        stage.submit("invoice.send", {"number": number, "provider": str(provider)})
    for number in range(4):
        stage.submit("invoice.send", {"number": number, "provider": str(provider), "customer": "unknown"})
    stage.submit("invoice.send", {"number": 1, "provider": str(provider), "customer": ""})
    stage.platform.wait_until(lambda: stage.platform.value(dead) - before == DOWN + 5, "the dead letters to be counted")
    return provider


def reload_until(page: Page, text: str) -> None:
    """Look again until a redrive stands so."""
    badge = page.locator(".jp-title .jp-badge")
    for _ in range(120):
        if text in badge.inner_text():
            return
        page.wait_for_timeout(250)  # the page of a redrive shows a moment
        page.reload()
    expect(badge).to_contain_text(text)


def test_from_the_alarm_to_the_all_clear(visitor: Visitor, stage: Stage, incident: Path) -> None:
    visitor.come_in("olga")
    visitor.go("/admin/")
    page = visitor.page
    cause = page.locator("#dead-letters tr", has_text="connection_refused_error")
    expect(cause).to_contain_text("No route to 10.1.2.")
    expect(cause).to_contain_text(str(DOWN))
    cause.get_by_role("link", name="Redrive").click()

    # Carefully: a few first, while it is still down.
    page.get_by_label("Canary").fill("5")
    page.get_by_label("Reason").fill("they say that it is up again")
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.locator("#foreseen")).to_contain_text(f'"jobs": "{DOWN}"')
    page.get_by_role("button", name="Plan and start").click()
    reload_until(page, "stopped")
    expect(page.locator("#reason")).to_contain_text("more than 20 % of those known failed again")
    expect(page.locator("#counts")).to_contain_text("5")
    assert (
        stage.platform.value("select count(*) from jobs_job where status = 'failed' and kind = 'invoice.send'") > DOWN
    )

    # Now it is up.
    incident.touch()
    page.get_by_role("link", name="Start", exact=True).click()
    page.get_by_label("Reason").fill("now it is")
    page.get_by_role("button", name="Start", exact=True).click()
    reload_until(page, "done")
    page.locator("#counts a").nth(1).click()
    expect(page.locator("#jobs")).to_contain_text("recovered")
    expect(page.locator("#audit")).to_contain_text("now it is")

    # What the canary left, and what was edited by hand: the bug wants another payload.
    visitor.go(LETTERS)
    left = page.locator("#causes tr", has_text="connection_refused_error")
    expect(left).to_contain_text("5")
    left.get_by_role("link", name="Redrive").click()
    page.get_by_label("Reason").fill("and the canary")
    page.get_by_role("button", name="Plan and start").click()
    reload_until(page, "done")
    visitor.go(LETTERS)
    page.locator("#causes tr", has_text="key_error").get_by_role("link", name="Redrive").click()
    page.get_by_label("Change of the payload").fill(json.dumps({"customer": "acme"}))
    page.get_by_label("Reason").fill("its customer was missing")
    page.get_by_role("button", name="Plan and start").click()
    reload_until(page, "done")
    expect(page.locator("#counts")).to_contain_text("1")

    stage.platform.wait_until(
        lambda: (
            stage.platform.value("select sum(dead) from reconciliation_cause where code <> 'unknown_customer'") == 0
        ),
        "the all-clear",
    )
    visitor.go("/admin/")
    expect(page.locator("#dead-letters")).not_to_contain_text("connection_refused_error")
    expect(page.locator("#dead-letters")).to_contain_text("unknown_customer")


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["laptop", "phone"])
def test_its_pages_fit_and_can_be_read(browser: Browser, stage: Stage, incident: Path, size: tuple[int, int]) -> None:
    row = stage.platform.value("select id from reconciliation_redrive order by id desc limit 1")
    dark = size[0] < 1000
    with visit(browser, stage.base_url, width=size[0], height=size[1], dark=dark) as visitor:
        visitor.come_in("olga")
        wrong = {}
        for path in (
            LETTERS, "/admin/reconciliation/redrive/", "/admin/reconciliation/redrive/plan/?codes=x",
            f"/admin/reconciliation/redrive/{row}/change/", f"/admin/reconciliation/redrive/{row}/abort/",
            "/admin/reconciliation/finding/", "/admin/",
        ):  # fmt: skip
            visitor.go(path)
            faint = [one for one in visitor.page.evaluate(FAINT.replace("#front-page", ".jp-page")) if ARROW not in one]
            found = [visitor.overflow(), faint]
            if found != [0, []]:
                wrong[path] = found
        assert wrong == {}
        assert visitor.complaints == []
