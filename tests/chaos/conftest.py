"""Servers that may be killed, and platforms of real processes on them."""

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from tests.databases import django_on
from tests.processes import Platform, Servers
from tests.reports import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and Redis of the chaos tests alone. Who kills one revives it."""
    with Servers() as servers:
        yield servers
        servers.cluster.close()


@pytest.fixture(scope="module")
def platform(servers: Servers, django_db_blocker: DjangoDbBlocker) -> Iterator[Platform]:
    """A new database and an empty broker for the tests of a module, which may share processes: starting one costs
    seconds. Django of this process leads there too.
    """
    with django_db_blocker.unblock(), Platform(servers.cluster, servers.broker_url) as platform:
        yield platform


@pytest.fixture
def own_platform(servers: Servers, django_db_blocker: DjangoDbBlocker) -> Iterator[Platform]:
    """The same for one test."""
    with django_db_blocker.unblock(), Platform(servers.cluster, servers.broker_url) as platform:
        yield platform


@pytest.fixture
def database(servers: Servers, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """A database of this test alone, where Django of this process leads; no process works there. Its URL."""
    with django_db_blocker.unblock():
        url = servers.cluster.make()
        with django_on(url):
            yield url
        servers.cluster.drop(url)
