"""A provider was down: an operator goes from the front page to the all-clear, in a real browser and without SQL."""

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Page, expect

from jobs import services
from jobs.services import JobRequest
from tests.browser.stage import Stage, Visitor, visit
from tests.browser.test_front_page import FAINT

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

ALL_DEAD = "select coalesce(sum(dead), 0)::int from reconciliation_cause"
LETTERS = "/admin/reconciliation/redrive/dead-letters/"
DOWN, STRANGERS, BUGS, SLOW = 4_900, 60, 30, 10
"""Dead letters of the four causes."""
LEFT = "select coalesce(sum(dead), 0) from reconciliation_cause where code <> 'unknown_customer'"
ARROW = "expand_more"  # the theme's sign of a list of choices


@pytest.fixture
def provider(tmp_path: Path) -> Path:
    """A provider that is down: the file is not there."""
    return tmp_path / "provider"


@pytest.fixture
def incident(stage: Stage, provider: Path) -> Path:
    """What an hour without a provider leaves behind: 5,000 dead letters of four causes, most of them the provider's."""
    return leave_behind(stage, provider, DOWN)


def leave_behind(stage: Stage, provider: Path, down: int) -> Path:
    """So many dead letters of the provider, and some of the others."""
    before = stage.platform.value(ALL_DEAD)
    told = {"provider": str(provider)}
    requests = [
        *(JobRequest("invoice.send", {"number": number, **told}) for number in range(down)),
        *(JobRequest("invoice.send", {"number": n, "customer": "unknown", **told}) for n in range(STRANGERS)),
        *(JobRequest("invoice.send", {"number": n, "customer": "", **told}) for n in range(BUGS)),
        *(JobRequest("payment.capture", {"order_id": f"slow {n}", "amount": 2000}) for n in range(SLOW)),
    ]
    stage.look_again()
    services.submit_many(project_id=stage.projects[0], requests=requests)
    stage.platform.wait_until(
        lambda: stage.platform.value(ALL_DEAD) - before == len(requests), "the dead letters to be counted"
    )
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


@pytest.fixture
def beat(stage: Stage) -> Iterator[None]:
    """Somebody makes the rounds of alarms."""
    program = stage.platform.beat()
    yield
    program.stop()


@pytest.fixture
def blocked(stage: Stage) -> list[UUID]:
    """What else went wrong meanwhile: the first job of a lane, which needs a person, and those that wait behind it."""
    head = stage.submit("payment.capture", {"order_id": "o-1", "amount": 0}, lane="account 7")
    behind = [stage.submit("payment.capture", {"order_id": f"o-{n}", "amount": n}, lane="account 7") for n in (2, 3)]
    stage.wait_for(head, "blocked")
    return [head, *behind]


def front_page_until(visitor: Visitor, alarm: str, *, there: bool) -> None:
    """Look at the front page, which asks anew by itself, until an alarm stands there, or does no more."""
    visitor.go("/admin/")
    expect(visitor.page.locator(".jp-alarm", has_text=alarm)).to_have_count(int(there), timeout=60_000)


def be_told(visitor: Visitor, dead: int) -> None:
    """A rule that would have told sooner; it is tried before it is saved, and fires. `dead`: letters from before."""
    page = visitor.page
    visitor.go("/admin/reconciliation/alarmrule/add/")
    page.get_by_label("Name").fill("The provider is down")
    page.get_by_label("Measure").select_option("dead_letters")
    for label, value in (("Threshold", dead + 4_000), ("Over at", dead + 100), ("Fires after", 0), ("Over after", 0)):
        page.get_by_label(label).fill(str(value))
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.locator("#trial")).to_contain_text("It would have fired")
    page.get_by_label("Reason").fill("nobody was told")
    page.get_by_role("button", name="Save", exact=True).click()
    front_page_until(visitor, "The provider is down", there=True)
    page.locator(".jp-alarm", has_text="The provider is down").get_by_role("link").click()
    page.locator(".jp-buttons a", has_text="Silence").click()
    page.get_by_label("Reason").fill("I am at it")
    page.get_by_role("button", name="Silence", exact=True).click()
    expect(page.locator(".jp-title")).to_contain_text("silenced")


def redrive_changed(visitor: Visitor) -> None:
    """Those that want another payload get it."""
    page = visitor.page
    for code, change, number in (("key_error", {"customer": "acme"}, BUGS), ("timeout_error", {"amount": 12}, SLOW)):
        visitor.go(LETTERS)
        page.locator("#causes tr", has_text=code).get_by_role("link", name="Redrive").click()
        page.get_by_label("Change of the payload").fill(json.dumps(change))
        page.get_by_label("Reason").fill("it goes so")
        page.get_by_role("button", name="Plan and start").click()
        reload_until(page, "done")
        expect(page.locator("#counts")).to_contain_text(str(number))


def decide(visitor: Visitor, stage: Stage, blocked: list[UUID]) -> None:
    """The first of the lane is put right, and those behind it go on by themselves."""
    page = visitor.page
    visitor.go("/admin/")
    page.locator(f'a[href*="{blocked[0]}"]').first.click()
    page.get_by_role("link", name="Edit payload and retry").click()
    page.get_by_label("Payload").fill(json.dumps({"order_id": "o-1", "amount": 7}))
    page.get_by_label("Reason").fill("it was seven")
    page.get_by_role("button", name="Edit payload and retry").click()
    for job in blocked:
        stage.wait_for(job, "processed")


def test_from_the_alarm_to_the_all_clear(
    visitor: Visitor, stage: Stage, incident: Path, blocked: list[UUID], beat: None
) -> None:
    dead = stage.platform.value(ALL_DEAD) - DOWN - STRANGERS - BUGS - SLOW
    visitor.come_in("olga")
    page = visitor.page

    be_told(visitor, dead)

    visitor.go("/admin/")
    cause = page.locator("#dead-letters tr", has_text="connection_refused_error")
    expect(cause).to_contain_text("No route to 10.1.2.")
    expect(cause).to_contain_text(f"{DOWN:,}")
    cause.get_by_role("link", name="Redrive").click()

    # Carefully: a few first, while it is still down.
    page.get_by_label("Canary").fill("5")
    page.get_by_label("Reason").fill("they say that it is up again")
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.locator("#foreseen")).to_contain_text(f'"jobs": "{DOWN:,}"')
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

    # What the canary left, and what wants another payload.
    visitor.go(LETTERS)
    left = page.locator("#causes tr", has_text="connection_refused_error")
    expect(left).to_contain_text("5")
    left.get_by_role("link", name="Redrive").click()
    page.get_by_label("Reason").fill("and the canary")
    page.get_by_role("button", name="Plan and start").click()
    reload_until(page, "done")
    redrive_changed(visitor)

    stage.platform.wait_until(lambda: stage.platform.value(LEFT) == 0, "the all-clear")
    decide(visitor, stage, blocked)
    front_page_until(visitor, "The provider is down", there=False)
    expect(page.locator("#dead-letters")).not_to_contain_text("connection_refused_error")
    expect(page.locator("#dead-letters")).to_contain_text("unknown_customer")


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["laptop", "phone"])
def test_its_pages_fit_and_can_be_read(browser: Browser, stage: Stage, provider: Path, size: tuple[int, int]) -> None:
    leave_behind(stage, provider, 5)
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
