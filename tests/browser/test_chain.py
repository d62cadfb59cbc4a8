"""Who looks after the chain, in a real browser: what is stuck is found and decided, signers rest, pages fit everywhere."""

import json
from collections.abc import Iterator
from uuid import UUID

import pytest
from playwright.sync_api import Browser, expect
from pytest_django import DjangoDbBlocker

from tests.browser.chain import Chain, open_chain
from tests.browser.stage import Stage, Visitor, visit
from tests.browser.test_front_page import FAINT
from tests.processes import Servers

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def chain(
    chromium: str, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chain]:
    """A platform with a chain."""
    keys = tmp_path_factory.mktemp("keys")
    with (
        django_db_blocker.unblock(),
        Servers() as servers,
        open_chain(servers.cluster, servers.broker_url, keys) as chain,
    ):
        yield chain


@pytest.fixture(scope="module")
def stage(chain: Chain) -> Stage:
    """The same, without its chain."""
    return chain.stage


@pytest.fixture(scope="module")
def anchored(chain: Chain) -> UUID:
    """A job whose result is a leaf of a tree that stands on chain."""
    return chain.confirm("anchor", 5)[3]


@pytest.fixture
def stuck(chain: Chain) -> Iterator[UUID]:
    """A job whose transaction no node takes. Whatever a test leaves of it is decided afterwards."""
    job = chain.stick()
    yield job
    chain.decide(job)
    chain.stage.wait_for(job, "confirmed")


def question(chain: Chain, job: UUID) -> str:
    return f"/admin/jobs/intervention/{chain.question_about(job)}"


def test_an_operator_finds_what_is_stuck_and_offers_more(visitor: Visitor, chain: Chain, stuck: UUID) -> None:
    transaction = chain.transaction_of(stuck)
    visitor.come_in("olga")
    visitor.go("/admin/")
    page = visitor.page

    row = page.locator("#front-page tr", has_text=str(transaction))
    expect(row).to_contain_text("refused too often")
    row.get_by_role("link", name="Transaction").click()
    expect(page.locator(".jp-evidence")).to_contain_text("transaction underpriced: gas tip cap")
    page.get_by_role("link", name="Offer more").click()
    expect(page.locator(".jp-facts")).to_contain_text("transaction underpriced: gas tip cap")
    payload = page.get_by_label("Payload")
    assert set(json.loads(payload.input_value())) == {"fee_gwei", "tip_gwei"}

    payload.fill('{"fee_gwei": 40, "tip_gwei": 25}')
    page.get_by_role("button", name="Show what it would do").click()
    expect(page.locator("#foreseen")).to_contain_text('"fee": 40.0')
    assert chain.step(stuck) == "stuck"
    page.get_by_role("button", name="Offer more").click()
    expect(page.locator("#act-form")).to_contain_text("This field is required.")
    page.get_by_label("Reason").fill("the market is higher than our cap of tips")
    page.get_by_role("button", name="Offer more").click()
    expect(page.locator("body")).to_contain_text("Offer more: decided.")

    chain.stage.wait_for(stuck, "confirmed")
    visitor.go(f"/admin/confirmations/transaction/{transaction}/change/")
    expect(page.locator("#attempts tbody tr")).to_have_count(4)
    expect(page.locator("#attempts tbody tr").first).to_contain_text("tip 25")
    expect(page.locator("#attempts tbody tr").first).to_contain_text("mined")
    assert chain.stage.audit(transaction) == [
        ("user:olga", "transaction.bump", "the market is higher than our cap of tips")
    ]


def test_a_viewer_looks_and_a_forged_decision_is_refused(visitor: Visitor, chain: Chain, stuck: UUID) -> None:
    asked = question(chain, stuck)
    visitor.come_in("vera")
    page = visitor.page
    visitor.go(f"{asked}/change/")

    expect(page.locator(".jp-evidence")).to_contain_text("transaction underpriced")
    expect(page.locator("#content")).to_contain_text("Use up the nonce")
    expect(page.locator(f'a[href*="{asked}/decide/"]')).to_have_count(0)
    visitor.go(f"/admin/confirmations/signer/{chain.signer}/change/")
    expect(page.locator("#line-of-nonces")).to_contain_text("stuck")
    expect(page.get_by_role("link", name="Pause", exact=True)).to_have_count(0)

    token = next(str(cookie["value"]) for cookie in page.context.cookies() if cookie["name"] == "csrftoken")
    for path in (f"{asked}/decide/free/", f"/admin/confirmations/signer/{chain.signer}/pause/"):
        answer = page.context.request.post(
            visitor.base_url + path, form={"reason": "because", "csrfmiddlewaretoken": token}
        )
        assert answer.status == 403
        assert "CSRF" not in answer.text()
    assert chain.step(stuck) == "stuck"
    assert chain.stage.platform.value("select duty from confirmations_signer") == "active"


def test_a_signer_is_paused_and_resumed(visitor: Visitor, chain: Chain) -> None:
    visitor.come_in("olga")
    visitor.go(f"/admin/confirmations/signer/{chain.signer}/change/")
    page = visitor.page

    page.get_by_role("link", name="Pause", exact=True).click()
    page.get_by_label("Reason").fill("its key is looked at")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator(".jp-title .jp-badge")).to_contain_text("paused")
    expect(page.locator("#reason")).to_have_text("its key is looked at")

    (job,) = chain.submit("single")
    chain.stage.wait_for(job, "confirming")
    visitor.go(f"/admin/jobs/job/{job}/change/")
    expect(page.locator("#explanation")).to_contain_text("Its signer signs nothing for now: its key is looked at.")
    expect(page.locator(".jp-timeline")).to_contain_text("On its way to the chain")

    visitor.go(f"/admin/confirmations/signer/{chain.signer}/change/")
    expect(page.locator("#waiting-for-a-transaction")).to_contain_text("single")
    page.get_by_role("link", name="Resume", exact=True).click()
    page.get_by_label("Reason").fill("it is the right one")
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(page.locator(".jp-title .jp-badge")).to_contain_text("active")
    expect(page.locator("#audit")).to_contain_text("it is the right one")
    chain.stage.wait_for(job, "confirmed")


# What is wider than the place that it has, so that it is cut off or lies over its neighbour.
TOO_WIDE = """() => [...document.querySelectorAll(".jp-facts dd, .jp-scroll, .jp-callout, .jp-json")]
    .filter((item) => item.scrollWidth > item.clientWidth + 1).map((item) => item.textContent.trim().slice(0, 60))"""


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["laptop", "phone"])
def test_the_pages_of_the_chain_fit_and_can_be_read(
    browser: Browser, chain: Chain, anchored: UUID, stuck: UUID, size: tuple[int, int]
) -> None:
    asked = question(chain, stuck)
    lists = [
        f"/admin/confirmations/{name}/" for name in ("confirmation", "transaction", "signer", "contract", "network")
    ]
    pages = [
        f"/admin/confirmations/signer/{chain.signer}/change/",
        f"/admin/confirmations/signer/{chain.signer}/pause/",
        f"/admin/confirmations/confirmation/{anchored}/change/",
        f"/admin/confirmations/contract/{chain.contract}/change/",
        f"/admin/confirmations/transaction/{chain.transaction_of(stuck)}/change/",
        f"/admin/jobs/job/{anchored}/change/",
        f"/admin/jobs/job/{stuck}/change/",
        f"{asked}/change/",
        f"{asked}/decide/free/",
    ]
    dark = size[0] < 1000
    with visit(browser, chain.stage.base_url, width=size[0], height=size[1], dark=dark) as visitor:
        visitor.come_in("olga")
        wrong = {}
        for path in [*lists, *pages]:
            visitor.go(path)
            found = [visitor.overflow(), visitor.page.evaluate(TOO_WIDE)]
            found.append(visitor.page.evaluate(FAINT.replace("#front-page", ".jp-page")))
            if found != [0, [], []]:
                wrong[path] = found
        assert wrong == {}
        assert visitor.complaints == []


def test_a_job_leads_to_its_proof(visitor: Visitor, chain: Chain, anchored: UUID) -> None:
    visitor.come_in("olga")
    page = visitor.page
    visitor.go(f"/admin/jobs/job/{anchored}/change/")
    page.get_by_role("link", name="for a third party").click()
    expect(page.get_by_role("heading", name="Proof")).to_be_visible()
    expect(page.locator("#answer")).to_contain_text('"code": "final"')

    visitor.go(f"/api/v1/jobs/{anchored}?project={chain.stage.projects[0]}")
    page.locator("#answer").get_by_role("link", name=f"/api/v1/confirmations/{anchored}").click()
    expect(page.locator("#answer")).to_contain_text('"standing": "confirmed"')
    page.locator("#answer").get_by_role("link", name=f"/api/v1/jobs/{anchored}/proof").click()
    expect(page.locator("#answer")).to_contain_text('"root": "0x')

    visitor.go("/api/v1/confirmations?mode=anchor")
    expect(page.locator("#answer")).to_contain_text(str(anchored))
    visitor.go("/api/v1/signers")
    page.locator("#answer").get_by_role("link", name=f"/api/v1/signers/{chain.signer}", exact=True).click()
    expect(page.locator("#answer")).to_contain_text('"duty": "active"')
    expect(page.locator("#answer a", has_text="/pause")).to_have_count(1)
