"""Servers that may be killed, and platforms of real processes on them."""

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from tests.processes import Platform, Servers


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and Redis of the chaos tests alone. Who kills one revives it."""
    with Servers() as servers:
        yield servers
        servers.cluster.close()


@pytest.fixture
def platform(servers: Servers, django_db_blocker: DjangoDbBlocker) -> Iterator[Platform]:
    """A new database, an empty broker and no process yet. Django of this process leads there."""
    with django_db_blocker.unblock(), Platform(servers.cluster, servers.broker_url) as platform:
        yield platform
