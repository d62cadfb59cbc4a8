"""The front page in a real browser: it is right, stays right by itself, fits a phone, and every number leads to its jobs."""

import re

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.stage import Stage, Visitor, soon, visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]


def number_on(page: Page, card: str) -> int:
    return int(page.locator(f"#card-{card} strong").inner_text().replace(",", ""))


def listed(page: Page) -> int:
    """How many jobs the list that is open has."""
    return page.locator("#result_list tbody tr").count()


def test_a_number_leads_to_its_jobs(visitor: Visitor, stage: Stage) -> None:
    dead = [stage.submit("payment.capture", {"order_id": f"o-{n}", "amount": -1}) for n in range(2)]
    blocked = [stage.submit("payment.capture", {"order_id": f"o-{n}", "amount": 0}) for n in range(3)]
    waiting = [stage.submit("payment.capture", {"order_id": f"o-{n}", "amount": 1}, due_at=soon()) for n in range(4)]
    for job in dead:
        stage.wait_for(job, "rejected")
    for job in blocked:
        stage.wait_for(job, "blocked")
    visitor.come_in("vera")
    page = visitor.page

    for card, jobs in (("blocked", blocked), ("queued", waiting)):
        visitor.go("/admin/")
        number = number_on(page, card)
        page.locator(f"#card-{card}").click()
        expect(page.locator("#result_list")).to_contain_text(str(jobs[0]))
        assert number == listed(page) >= len(jobs)

    visitor.go("/admin/")
    cell = page.get_by_role("link", name=re.compile(r"^payment\.capture, blocked: "))
    number = int(cell.inner_text())
    cell.click()
    expect(page.locator("#result_list")).to_contain_text(str(blocked[0]))
    assert number == listed(page)


def test_it_brings_itself_up_to_date(visitor: Visitor, stage: Stage) -> None:
    visitor.come_in("olga")
    visitor.go("/admin/")
    page = visitor.page
    page.evaluate("window.loadedOnce = true")
    before, shown_at = number_on(page, "queued"), page.locator("#updated time").inner_text()
    page.locator("#figures-throughput summary").click()
    page.locator("#card-blocked").focus()

    stage.submit("payment.capture", {"order_id": "o-new", "amount": 1}, due_at=soon())

    expect(page.locator("#card-queued strong")).to_have_text(str(before + 1), timeout=15_000)
    expect(page.locator("#updated time")).not_to_have_text(shown_at)
    assert page.evaluate("window.loadedOnce") is True  # not loaded anew
    assert page.evaluate("document.activeElement.id") == "card-blocked"
    expect(page.locator("#figures-throughput")).to_have_attribute("open", "")
    expect(page.locator("#trouble")).to_be_hidden()


def test_charts_show_what_has_just_happened(visitor: Visitor, stage: Stage) -> None:
    job = stage.submit("payment.capture", {"order_id": "o-chart", "amount": 12})
    stage.wait_for(job, "processed")
    visitor.come_in("olga")
    visitor.go("/admin/")
    page = visitor.page

    expect(page.locator("#chart-outcomes rect.jp-done").first).to_be_attached(timeout=30_000)
    page.locator("#figures-outcomes summary").click()
    expect(page.locator("#figures-outcomes tbody tr").first).to_be_visible()
    page.locator("#chart-outcomes .jp-spot").last.hover()
    expect(page.locator("#chart-outcomes [data-readout]")).to_contain_text(re.compile(r"^\d\d:\d\d UTC: processed \d"))
    expect(page.locator("#chart-workers .jp-legend")).to_contain_text("slots 2")


def test_it_can_be_held_and_goes_on(visitor: Visitor, stage: Stage) -> None:
    visitor.come_in("olga")
    visitor.go("/admin/")
    page = visitor.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.headers.get("part") == "live" else None)

    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Go on")).to_have_attribute("aria-pressed", "true")
    assert asked == []
    with page.expect_response(lambda answer: answer.request.headers.get("part") == "live"):
        page.get_by_role("button", name="Go on").click()


def test_nobody_is_asked_while_nobody_looks(visitor: Visitor) -> None:
    visitor.come_in("olga")
    page = visitor.page
    page.add_init_script(
        "window.hiddenNow = true;"
        "Object.defineProperty(document, 'hidden', {get: () => window.hiddenNow});"
        "window.fetches = 0; const real = window.fetch;"
        "window.fetch = (...given) => { window.fetches += 1; return real(...given); };"
    )
    page.clock.install()
    visitor.go("/admin/")
    page.clock.run_for(60_000)
    assert page.evaluate("window.fetches") == 0

    with page.expect_response(lambda answer: answer.request.headers.get("part") == "live"):
        page.evaluate("window.hiddenNow = false; document.dispatchEvent(new Event('visibilitychange'))")


def test_a_server_that_is_away_is_told_and_comes_back(browser: Browser, stage: Stage) -> None:
    with visit(browser, stage.base_url) as visitor:  # whose complaints are what this test brings about
        visitor.come_in("olga")
        visitor.go("/admin/")
        page = visitor.page

        def refuse(route: Route) -> None:
            if route.request.headers.get("part") == "live":
                route.abort()
            else:
                route.continue_()

        page.route("**/admin/**", refuse)
        expect(page.locator("#trouble")).to_contain_text("the server cannot be reached", timeout=15_000)
        page.unroute("**/admin/**")
        expect(page.locator("#trouble")).to_be_hidden(timeout=15_000)


def test_whoever_is_signed_out_is_told(browser: Browser, stage: Stage) -> None:
    with visit(browser, stage.base_url) as visitor:
        visitor.sign_in("olga")
        page = visitor.page
        page.context.clear_cookies()

        expect(page.locator("#trouble")).to_contain_text("You are signed out", timeout=15_000)


def test_windows_and_projects_are_chosen(visitor: Visitor, stage: Stage) -> None:
    visitor.come_in("olga")
    visitor.go("/admin/")
    page = visitor.page

    page.get_by_role("link", name="24 hours", exact=True).click()
    expect(page.get_by_role("link", name="24 hours", exact=True)).to_have_attribute("aria-current", "true")
    page.get_by_label("Project", exact=True).select_option(label="Contoso")
    page.wait_for_url(re.compile(r"window=24h.*project="))
    expect(page.locator("#by-project")).to_have_count(0)
    expect(page.get_by_label("Project", exact=True)).to_have_value(str(stage.projects[1]))
    expect(page.get_by_role("link", name="24 hours", exact=True)).to_have_attribute("aria-current", "true")


def test_it_works_on_a_narrow_phone(browser: Browser, stage: Stage) -> None:
    job = stage.submit("payment.capture", {"order_id": "o-phone", "amount": 500})
    stage.wait_for(job, "processed")
    with visit(browser, stage.base_url, width=360, height=740) as visitor:
        visitor.come_in("olga")
        page = visitor.page
        for path in ("/admin/", "/admin/?window=30d", f"/admin/jobs/job/{job}/change/"):
            visitor.go(path)
            for item in page.locator("summary").all():
                item.click()
            assert visitor.overflow() <= 0, path
        visitor.go("/admin/")
        for card in ("running", "queued", "late", "failed", "blocked", "workers"):
            box = page.locator(f"#card-{card}").bounding_box()
            assert box
            assert box["height"] >= 44  # what a thumb needs
        assert visitor.complaints == []


def test_everything_is_reached_by_the_keyboard(visitor: Visitor, stage: Stage) -> None:
    visitor.come_in("olga")
    visitor.go("/admin/")
    page = visitor.page
    page.get_by_role("button", name="Pause").click()
    page.locator(".jp-windows a").first.focus()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))

    assert {"project", "hold", "card-running", "card-late", "card-workers", "SUMMARY"} <= reached


def test_words_have_contrast_by_day_and_by_night(browser: Browser, stage: Stage) -> None:
    for dark in (False, True):
        with visit(browser, stage.base_url, dark=dark) as visitor:
            visitor.come_in("olga")
            visitor.go("/admin/")
            assert visitor.page.evaluate(FAINT) == []


# Text whose contrast with the nearest ground that is painted is below 4.5 : 1 (3 : 1 for large text).
FAINT = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const pixel = (...colours) => {
        canvas.clearRect(0, 0, 1, 1);
        for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (rgb) => {
        const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const faint = [];
    for (const item of document.querySelectorAll("#front-page *")) {
        const own = [...item.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!own || !item.checkVisibility() || item.closest("svg, .jp-unseen, option")) { continue; }
        const grounds = [];
        for (let up = item; up; up = up.parentElement) { grounds.unshift(getComputedStyle(up).backgroundColor); }
        const ground = pixel("#fff", ...grounds);
        const style = getComputedStyle(item);
        const [a, b] = [light(pixel(`rgb(${ground})`, style.color)), light(ground)];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) {
            faint.push(`${ratio.toFixed(2)} ${item.className} ${item.textContent.trim().slice(0, 30)}`);
        }
    }
    return [...new Set(faint)];
}"""


def test_a_long_life_is_drawn_from_beginning_to_end(visitor: Visitor, stage: Stage) -> None:
    job = stage.submit("payment.capture", {"order_id": "o-life", "amount": 500})
    stage.wait_for(job, "processed")
    visitor.come_in("olga")
    visitor.go(f"/admin/jobs/job/{job}/change/")
    page = visitor.page
    expect(page.locator(".jp-span")).to_have_count(6)
    expect(page.locator(".jp-life rect.jp-retried")).to_have_count(2)
    expect(page.locator(".jp-life rect.jp-backoff")).to_have_count(2)
    expect(page.locator(".jp-legend").first).to_contain_text("Attempt retried × 2")

    stage.platform.execute(MANY_ATTEMPTS, job)
    stage.platform.execute(MANY_TURNS, job)
    visitor.go(f"/admin/jobs/job/{job}/change/")

    expect(page.locator(".jp-gap")).to_contain_text("attempts of")
    expect(page.locator(".jp-span")).to_have_count(40)
    expect(page.locator(".jp-legend").first).to_contain_text("Attempt retried × 200")


MANY_ATTEMPTS = """
insert into jobs_attempt (job_id, project_id, started_at, ended_at, claim_no, attempt, stage, outcome)
select job_id, project_id, ended_at + make_interval(secs => 20 * n - 3), ended_at + make_interval(secs => 20 * n),
       claim_no + n, attempt, 'process', 'retried'
from (select * from jobs_attempt where job_id = %s order by claim_no desc limit 1) latest, generate_series(1, 198) n
"""
MANY_TURNS = """
insert into events_event (position, project_id, occurred_at, type, subject_id, seq, data)
select event_position(), project_id, occurred_at + make_interval(secs => 20 * n), 'job.retrying', subject_id, seq + n,
       '{"kind": "payment.capture"}'
from (select * from events_event where subject_id = %s order by seq desc limit 1) latest, generate_series(1, 198) n
"""
