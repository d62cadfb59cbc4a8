"""The pictures of docs/screenshots, taken of the real pages:

python -m tests.browser.screenshots
"""

import contextlib
import datetime as dt
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import django

if TYPE_CHECKING:
    from playwright.sync_api import FloatRect

    from tests.browser.chain import Chain
    from tests.browser.stage import Stage, Visitor
    from tests.databases import Cluster

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
LARGEST = 240 * 1024  # bytes
PROFILE = {"JOBPLATFORM_PROFILE": "development"}


def main() -> int:
    """Take all pictures. Returns 1 where there is no Chromium, or when a picture is too large."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobplatform.settings")
    os.environ |= {"JOBPLATFORM_PROFILE": "test", "SECRET_KEY": "s" * 50}
    os.environ |= {"DATABASE_URL": "postgresql:///none", "BROKER_URL": "redis://localhost/0"}
    django.setup()
    from jobplatform.embedded import Embedded
    from tests.browser.stage import find_chromium
    from tests.databases import Cluster

    program = find_chromium()
    if program is None:
        print("No Chromium found: install Debian's package `chromium`.", file=sys.stderr)
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    for picture in (picture_jobs, picture_the_chain):
        with contextlib.ExitStack() as stack:
            embedded = Embedded(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jp-"))))
            stack.callback(embedded.destroy)
            embedded.start()
            picture(program, Cluster(embedded.database_url), embedded.broker_url)
    large = {path.name: path.stat().st_size for path in FOLDER.glob("*.png") if path.stat().st_size > LARGEST}
    print(f"Wrote {FOLDER}." if not large else f"Too large: {large}")
    return 1 if large else 0


def picture_jobs(program: str, cluster: "Cluster", broker_url: str) -> None:
    """The front page and the pages of jobs."""
    from tests.browser.history import make_history
    from tests.browser.stage import open_browser, open_stage, visit

    with open_stage(cluster, broker_url, env=PROFILE) as stage:
        make_history(stage.platform, stage.projects)
        retried, running = work(stage)
        with open_browser(program) as browser:
            with visit(browser, stage.base_url) as laptop:
                laptop.sign_in("olga")
                take_on_a_laptop(laptop, retried)
            with visit(browser, stage.base_url, dark=True) as night:
                night.sign_in("olga")
                take(night, "overview-dark", height=1000)
                night.go(f"/admin/jobs/job/{running}/change/")
                take(night, "job-running-dark")
            with visit(browser, stage.base_url, width=390, height=844) as phone:
                phone.sign_in("olga")
                take(phone, "overview-phone", height=1700)
                phone.go(f"/admin/jobs/job/{retried}/change/")
                take(phone, "job-phone")


def picture_the_chain(program: str, cluster: "Cluster", broker_url: str) -> None:
    """Who signs, what is confirmed, what was read, and what a person is asked."""
    from tests.browser.chain import open_chain
    from tests.browser.stage import open_browser, visit

    with (
        tempfile.TemporaryDirectory(prefix="jp-") as keys,
        open_chain(cluster, broker_url, Path(keys), env=PROFILE) as chain,
    ):
        anchored, stuck = settle(chain)
        with open_browser(program) as browser, visit(browser, chain.stage.base_url) as laptop:
            laptop.sign_in("olga")
            take_of_the_chain(laptop, chain, anchored, stuck)


def settle(chain: "Chain") -> tuple[UUID, UUID]:
    """Results on chain, and one that is stuck before others. Returns an anchored job and the one that is stuck."""
    for mode, number in (("single", 1), ("batch", 5), ("single", 1)):
        chain.confirm(mode, number)
    anchored = chain.confirm("anchor", 12)[5]
    chain.hold()
    (mined,) = chain.submit("single")
    chain.wait_for_step(mined, "sent")
    chain.node.mine()
    chain.wait_for_step(mined, "included")
    stuck = chain.stick()
    for mode, number in (("batch", 4), ("single", 1)):
        behind = chain.submit(mode, number)
        chain.wait_for_step(behind[-1], "sent")
    chain.watch()
    return anchored, stuck


def take_of_the_chain(visitor: "Visitor", chain: "Chain", anchored: UUID, stuck: UUID) -> None:
    """The pages of who looks after the chain."""
    visitor.go(f"/admin/confirmations/signer/{chain.signer}/change/")
    take(visitor, "chain-signer", height=940)
    visitor.go(f"/admin/confirmations/confirmation/{anchored}/change/")
    take(visitor, "chain-confirmation", height=1020)
    visitor.go(f"/admin/confirmations/contract/{chain.contract}/change/")
    take(visitor, "chain-contract")
    visitor.go(f"/admin/jobs/intervention/{chain.question_about(stuck)}/change/")
    visitor.page.get_by_role("link", name="Offer more").click()
    visitor.page.get_by_label("Payload").fill('{"fee_gwei": 40, "tip_gwei": 25}')
    visitor.page.get_by_label("Reason").fill("The market of tips has risen.")
    visitor.page.get_by_role("button", name="Show what it would do").click()
    visitor.page.wait_for_selector("#foreseen")
    take(visitor, "chain-intervention", height=1000)


def work(stage: "Stage") -> tuple[UUID, UUID]:
    """A morning's work. Returns a job that was retried until it succeeded, and one that runs."""
    amounts = (12.5, 99, 49.9, -1, 20, 35, 2000, 18, 0, 64, 27.3, 2000, 41, 9.99, 80, 15, 0, 33)
    jobs = []
    for number, amount in enumerate(amounts):
        payload = {"order_id": f"o-{1000 + number}", "amount": amount}
        jobs.append(stage.submit("payment.capture", payload, project=number % 3 % 2, metadata={"region": "eu"}))
    jobs += [stage.submit("report.render", {"customer": name}) for name in ("acme", "globex", "initech")]
    retried = stage.submit(
        "payment.capture", {"order_id": "o-2041", "amount": 500}, metadata={"region": "eu", "channel": "web"}
    )
    for job in (*jobs, retried):
        stage.wait_for(job, "processed", "failed", "rejected", "blocked")
    for customer in ("umbrella", "hooli"):
        tonight = dt.datetime.now(dt.UTC) + dt.timedelta(hours=5, minutes=30)
        stage.submit("report.render", {"customer": customer, "pages": 12}, project=1, due_at=tonight)
    running = stage.submit("customer.import", {"customer": "northwind"})
    stage.platform.wait_until(lambda: _records(stage, running) > 90, "some records")
    return retried, running


def _records(stage: "Stage", job: UUID) -> int:
    progress = stage.platform.job(job)["progress"] or {"done": 0}
    return int(progress["done"])


def take_on_a_laptop(visitor: "Visitor", job: UUID) -> None:
    """The pages of an operator's day."""
    visitor.go("/admin/")
    take(visitor, "overview", height=1510)
    visitor.go("/admin/jobs/job/")
    take(visitor, "jobs")
    visitor.go(f"/admin/jobs/job/{job}/change/")
    take(visitor, "job", height=1000)
    visitor.go("/admin/jobs/job/?status=failed")
    visitor.page.locator("#result_list .jp-two b").first.click()
    visitor.page.get_by_role("link", name="Edit payload and retry").click()
    visitor.page.get_by_label("Reason").fill("The amount was typed in cents.")
    take(visitor, "edit-and-retry")


def take(visitor: "Visitor", name: str, *, height: int = 0) -> None:
    """A picture of the window, or of the page down to a height."""
    visitor.page.wait_for_load_state("networkidle")
    width = (visitor.page.viewport_size or {"width": 1280})["width"]
    clip: FloatRect | None = {"x": 0, "y": 0, "width": width, "height": height} if height else None
    visitor.page.screenshot(path=FOLDER / f"{name}.png", full_page=bool(height), clip=clip)


if __name__ == "__main__":
    sys.exit(main())
