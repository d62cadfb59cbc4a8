"""Settings of a kind in a real browser: tried on history, saved, and gone by at once."""

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.stage import Stage, Visitor, visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

LIST = "/admin/jobs/kindsettings/"
PAGE = f"{LIST}payment.capture/change/"


def test_settings_are_tried_on_history_and_saved(visitor: Visitor, stage: Stage) -> None:
    dead = stage.submit("payment.capture", {"order_id": "o-1", "amount": 2000})
    late = stage.submit("payment.capture", {"order_id": "o-2", "amount": 500})
    stage.wait_for(dead, "failed")
    stage.wait_for(late, "processed")
    visitor.come_in("olga")
    page = visitor.page

    visitor.go("/admin/")
    page.locator("#nav-sidebar-apps a", has_text="Kinds").click()
    page.locator("#kinds").get_by_role("link", name="payment.capture").click()
    page.get_by_label("Attempts").fill("5")
    page.get_by_label("Timeout").fill("60")
    page.get_by_role("button", name="Try on history").click()

    tried = page.locator("#tried")
    expect(tried).to_contain_text("Of 2 jobs created in the last 7 days, with 6 ended attempts")
    expect(tried).to_contain_text("1 job that failed would have been retried.")
    expect(tried).to_contain_text("0 attempts would have been ended by the timeout.")
    expect(tried).to_contain_text("Delays between attempts: 0.4 s, 0.8 s, 1.6 s, 3.2 s.")
    expect(page.get_by_label("Attempts")).to_have_value("5")
    assert stage.platform.value("select count(*) from jobs_kindsettings") == 0

    page.get_by_role("button", name="Save").click()
    expect(page.locator("#kind-form")).to_contain_text("This field is required.")
    page.get_by_label("Reason").fill("the provider needs longer")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("body")).to_contain_text("payment.capture is set.")
    expect(page.locator("#history")).to_contain_text("the provider needs longer")
    expect(page.locator("#effective")).to_contain_text("60 s")

    def learned() -> bool:
        job = stage.submit("payment.capture", {"order_id": "o-3", "amount": 2000})
        stage.wait_for(job, "failed")
        return len(stage.platform.attempts(job)) == 5

    stage.platform.wait_until(learned, "a job with five attempts")

    page.get_by_label("Reason").fill("the provider is fast again")
    page.get_by_role("button", name="Reset to the code").click()
    expect(page.locator("body")).to_contain_text("payment.capture goes by its code again.")
    expect(page.get_by_role("button", name="Reset to the code")).to_have_count(0)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_a_phone(browser: Browser, stage: Stage, dark: bool) -> None:
    with visit(browser, stage.base_url, width=390, height=844, dark=dark) as phone:
        phone.come_in("olga")
        for address in (LIST, PAGE):
            phone.go(address)
            assert phone.overflow() <= 0
        phone.page.get_by_label("Attempts").fill("5")
        phone.page.get_by_role("button", name="Try on history").click()
        expect(phone.page.locator("#tried")).to_be_visible()
        assert phone.overflow() <= 0
        assert phone.complaints == []


def test_a_viewer_looks_only(visitor: Visitor) -> None:
    visitor.come_in("vera")
    visitor.go(PAGE)

    expect(visitor.page.locator("#effective")).to_contain_text("Attempts")
    expect(visitor.page.get_by_role("button", name="Save")).to_have_count(0)
