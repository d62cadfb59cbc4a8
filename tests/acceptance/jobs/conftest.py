"""A platform of real processes on the session's own servers."""

import os
from collections.abc import Generator, Iterator

import pytest
from pytest_django import DjangoDbBlocker

from tests.databases import Cluster
from tests.processes import Platform


@pytest.fixture(scope="module")
def platform(cluster: Cluster, django_db_blocker: DjangoDbBlocker) -> Iterator[Platform]:
    """A relay and a worker on a new database."""
    with django_db_blocker.unblock(), Platform(cluster, os.environ["BROKER_URL"]) as platform:
        platform.relay()
        platform.worker()
        yield platform


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the processes wrote to the report of a test that failed."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for platform in item.funcargs.values():
            if isinstance(platform, Platform):
                report.sections.append(("processes", platform.story()))
    return report
