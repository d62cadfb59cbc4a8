"""A client whose faults are answered like a real one's."""

import pytest
from django.test import Client


@pytest.fixture
def api() -> Client:
    """A client that gets a 500 for a fault instead of the exception."""
    return Client(raise_request_exception=False)
