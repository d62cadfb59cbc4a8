"""The running platform with people on its staff, and Chromium in front of it.

`open_stage()` starts a web process, a relay and a worker on a database of their own, and signs nobody in yet.
`tests/browser/screenshots.py` uses it too.
"""

import contextlib
import datetime as dt
import http.client
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Group, User
from django.db import connection
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Response, sync_playwright

from jobplatform.admin.people import set_up_groups
from jobs import services
from jobs.services import JobRequest
from projects import services as project_services
from tests.databases import Cluster
from tests.processes import Platform

PASSWORD = "correct horse battery staple"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HANDLERS = ("tests.browser.handlers",)


def soon() -> dt.datetime:
    """An hour from now."""
    return dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)


def find_chromium() -> str | None:
    """The Chromium of this machine, if it has one."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


@dataclass
class Stage:
    """Where the platform is, what runs behind it, and the projects that have jobs there."""

    base_url: str
    platform: Platform
    projects: list[UUID]

    def submit(self, kind: str, payload: Mapping[str, Any], *, project: int = 0, **options: Any) -> UUID:
        """Create a job as a program of a project would."""
        self.look_again()
        request = JobRequest(kind=kind, payload=payload, **options)
        return services.submit_many(project_id=self.projects[project], requests=[request])[0].id

    @staticmethod
    def look_again() -> None:
        """Playwright's event loop gives tests a connection of their own, which may still lead to an earlier stage."""
        if connection.connection is not None and not connection.is_usable():
            connection.close()

    def wait_for(self, job_id: UUID, *statuses: str) -> None:
        """Wait until a job stands in one of these statuses."""
        self.platform.wait_until(lambda: self.platform.job(job_id)["status"] in statuses, f"{job_id}: {statuses}")

    def audit(self, job_id: UUID) -> list[tuple[str, str, str]]:
        """Who did what to a job by hand, and why, oldest first."""
        query = "select actor, action, reason from events_auditrecord where subject_id = %s order by id"
        return [(row["actor"], row["action"], row["reason"]) for row in self.platform.rows(query, str(job_id))]


@contextlib.contextmanager
def open_stage(cluster: Cluster, broker_url: str, *, env: Mapping[str, str] | None = None) -> Iterator[Stage]:
    """The platform in real processes, with an operator and a viewer. `env` is for the web process."""
    with beside_a_browser(), Platform(cluster, broker_url, handlers=HANDLERS) as platform:
        stage = furnish(platform, env=env)
        platform.worker()
        yield stage


@contextlib.contextmanager
def beside_a_browser() -> Iterator[None]:
    """Playwright keeps an event loop in this thread, in which Django would refuse to ask the database."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    try:
        yield
    finally:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def furnish(platform: Platform, *, env: Mapping[str, str] | None = None) -> Stage:
    """Two projects, an operator, a viewer, a web process and a relay."""
    projects = [project_services.create_project(name=name, actor="system").id for name in ("Northwind", "Contoso")]
    _hire("olga", "operators")
    _hire("vera", "viewers")
    stage = Stage(_web(platform, env or {}), platform, projects)
    platform.relay()
    return stage


def _hire(name: str, group: str) -> None:
    set_up_groups()
    user = User.objects.create_user(name, password=PASSWORD, is_staff=True)
    user.groups.set([Group.objects.get(name=group)])


def _web(platform: Platform, more: Mapping[str, str]) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    env = {
        "ALLOWED_HOSTS": "127.0.0.1",
        "FLOWER_URL": "http://127.0.0.1:5555",
        **more,
    }
    web = platform._start("http", [*command, "--blocking-threads", "4", "jobplatform.wsgi:application"], env, None)

    def answers() -> bool:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            link.request("GET", "/healthz")
            return link.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            link.close()

    platform.wait_until(lambda: answers() or not web.alive, "the web process")
    assert web.alive, platform.story()
    return f"http://127.0.0.1:{port}"


# ------------------------------------------------------------------------------------------------ the browser
@contextlib.contextmanager
def open_browser(program: str) -> Iterator[Browser]:
    """Chromium without a window. Its own sandbox needs rights that root and containers do not give it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


_SESSIONS: dict[str, dict[str, Any]] = {}


@dataclass
class Visitor:
    """Somebody in front of a page. `complaints`: what the browser found wrong."""

    page: Page
    base_url: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("response", self._on_response)
        self.page.on("dialog", self._on_dialog)

    def _on_dialog(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")

    def _on_response(self, response: Response) -> None:
        if response.status >= http.client.BAD_REQUEST:
            self.complaints.append(f"{response.status}: {response.url}")

    def go(self, path: str) -> None:
        """Open an address of the platform."""
        self.page.goto(f"{self.base_url}{path}", wait_until="load")

    def come_in(self, name: str) -> None:
        """As somebody who has signed in before; the first time through the form."""
        sessions = _SESSIONS.setdefault(self.base_url, {})
        if name in sessions:
            self.page.context.add_cookies(sessions[name])
        else:
            self.sign_in(name)
            sessions[name] = self.page.context.cookies()

    def sign_in(self, name: str) -> None:
        """Through the form."""
        self.go("/admin/")
        self.page.get_by_label("Username").fill(name)
        self.page.locator("#id_password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_selector("#front-page")

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        script = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(script))


@contextlib.contextmanager
def visit(
    browser: Browser, base_url: str, *, width: int = 1280, height: int = 800, dark: bool = False
) -> Iterator[Visitor]:
    """A new visitor, who has never been here."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
    )
    context.set_default_timeout(30_000)
    try:
        yield Visitor(context.new_page(), base_url)
    finally:
        context.close()
