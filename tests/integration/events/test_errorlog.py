"""Errors that a process logs are counted in the database, however it ends."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from events import errorlog
from events.errorlog import ErrorCounter
from events.models import ErrorMinute
from jobplatform import processes

pytestmark = pytest.mark.usefixtures("committed_alone")


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """A logger of its own, with the counter."""
    logger = logging.Logger("tests.errors")  # noqa: LOG001 - it is nobody else's, and gone with the test
    counter = ErrorCounter()
    logger.addHandler(counter)
    yield logger
    counter.close()


def total() -> int:
    return sum(ErrorMinute.objects.values_list("number", flat=True))


def test_lines_with_errors_are_added_up_and_others_are_not(log: logging.Logger, monkeypatch: Any) -> None:
    monkeypatch.setattr(errorlog, "FLUSH_SECONDS", 0.05)
    for _ in range(3):
        log.error("it broke")
        log.warning("it may break")
    log.critical("it broke badly")

    assert processes.wait_until(lambda: total() == 4, seconds=20)
    assert errorlog.a_minute(300) == 4 / 5
    log.error("again")
    assert processes.wait_until(lambda: total() == 5, seconds=20)


def test_what_cannot_be_written_is_written_later_and_nobody_is_told(
    log: logging.Logger, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(errorlog, "FLUSH_SECONDS", 0.05)
    tries = []
    add = errorlog.add

    def refuse(number: int) -> None:
        tries.append(number)
        if len(tries) < 3:
            raise OSError
        add(number)

    monkeypatch.setattr(errorlog, "add", refuse)
    log.error("it broke")
    assert processes.wait_until(lambda: total() == 1, seconds=20)
    assert tries == [1, 1, 1]
    assert caplog.records == []


_PROGRAM = """
import logging, os, sys
import django
django.setup()
from events.errorlog import ErrorCounter
logging.getLogger().addHandler(ErrorCounter())
logging.error("of the parent")
child = os.fork()
logging.error("of the child" if child == 0 else "of the parent again")
if child:
    os.waitpid(child, 0)
"""


def test_a_process_that_ends_at_once_and_its_child_count_what_they_logged_once() -> None:
    total()  # connects
    info = connection.connection.info
    database = f"postgresql://{info.user}:{info.password}@/{info.dbname}?host={info.host}&port={info.port}"
    given = {**os.environ, "DATABASE_URL": database, "DJANGO_SETTINGS_MODULE": "jobplatform.settings"}
    done = subprocess.run([sys.executable, "-c", _PROGRAM], env=given, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert total() == 3, done.stderr


def test_production_counts_and_tests_do_not() -> None:
    from django.conf import settings

    assert "errors" not in settings.LOGGING["handlers"]
    program = (
        "import django; django.setup(); import logging; print([type(h).__name__ for h in logging.getLogger().handlers])"
    )
    given = {**os.environ, "JOBPLATFORM_PROFILE": "development", "DJANGO_SETTINGS_MODULE": "jobplatform.settings"}
    done = subprocess.run([sys.executable, "-c", program], env=given, capture_output=True, timeout=60, check=True)
    assert b"ErrorCounter" in done.stdout
