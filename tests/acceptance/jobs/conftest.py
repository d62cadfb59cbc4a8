"""A platform of real processes on the session's own servers."""

import os
from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from tests.databases import Cluster
from tests.processes import Platform
from tests.reports import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]


@pytest.fixture(scope="module")
def platform(cluster: Cluster, django_db_blocker: DjangoDbBlocker) -> Iterator[Platform]:
    """A relay and a worker on a new database."""
    with django_db_blocker.unblock(), Platform(cluster, os.environ["BROKER_URL"]) as platform:
        platform.relay()
        platform.worker()
        yield platform
