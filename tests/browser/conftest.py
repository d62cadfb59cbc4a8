"""One platform and one Chromium for the tests of this folder; a visitor for each."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from pytest_django import DjangoDbBlocker

from tests.browser.stage import Stage, Visitor, find_chromium, open_browser, open_stage, visit
from tests.processes import Servers


@pytest.fixture(scope="module")
def chromium() -> str:
    """Where Chromium is. Without it the tests are skipped; on the machine that guards merges they fail."""
    program = find_chromium()
    if program is None:
        reason = "No Chromium found: install Debian's package `chromium`."
        if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
            pytest.fail(reason)
        pytest.skip(reason)
    return program


@pytest.fixture(scope="module")
def stage(chromium: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Stage]:
    """The platform."""
    with django_db_blocker.unblock(), Servers() as servers, open_stage(servers.cluster, servers.broker_url) as stage:
        yield stage


@pytest.fixture(scope="module")
def browser(chromium: str, stage: Stage) -> Iterator[Browser]:
    """Chromium."""
    with open_browser(chromium) as browser:
        yield browser


@pytest.fixture
def visitor(browser: Browser, stage: Stage) -> Iterator[Visitor]:
    """Somebody with a laptop. At the end the browser has found nothing wrong."""
    with visit(browser, stage.base_url) as visitor:
        yield visitor
        assert visitor.complaints == []
