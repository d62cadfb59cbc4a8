"""No consumer misses an event or sees a subject's events out of order, however transactions meet (T30)."""

import contextlib
import datetime as dt
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from conftest import Link, Reader, append  # type: ignore[import-not-found]
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from events import consumers, log
from jobs import services, store
from jobs.judge import released
from jobs.services import JobRequest
from jobs.states import Status
from jobs.store import Claimed, Verdict
from tests.processes import PROJECT, Servers, known

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]
