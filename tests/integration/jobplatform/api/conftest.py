"""A client whose faults are answered like a real one's, and rows that other connections can see."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from jobplatform.api import idempotency
from projects.models import ApiKey, Project
from tests.integration.jobplatform.api import routes


@pytest.fixture
def api() -> Client:
    """A client that gets a 500 for a fault instead of the exception."""
    return Client(raise_request_exception=False)


@pytest.fixture
def committed(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """The database without a transaction around the test, for tests of several connections; cleaned up after it."""
    with django_db_blocker.unblock():
        ensure_table()
        yield
        with connection.cursor() as cursor:
            cursor.execute("delete from api_idempotency")
        ApiKey.objects.all().delete()
        Project.objects.all().delete()
        connection.close()
    routes.REACHED.clear()


@pytest.fixture
def kept_answers(db: None) -> None:
    """The table of idempotent answers, inside of the test's transaction."""
    ensure_table()


def ensure_table() -> None:
    """The table of idempotent answers, in case no migration has made it yet."""
    with connection.cursor() as cursor:
        cursor.execute("select to_regclass('api_idempotency') is null")
        if cursor.fetchone()[0]:
            cursor.execute(idempotency.TABLE)
