"""Pytest plugin: the test session's own PostgreSQL and Redis, running before Django's settings load.

Registered by `-p tests.embedded_plugin` in pyproject.toml, because a conftest.py would load after the settings. The
servers live in `.cache/test-data-<process id>` and end with the session; `DATABASE_URL` and `BROKER_URL` replace them.
The workers of pytest-xdist share them: each has a database of its own name and a broker database of its own number.
"""

import os
import secrets
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from jobplatform.embedded import Embedded, EmbeddedError

CACHE = Path(__file__).resolve().parent.parent / ".cache"
PREFIX = "test-data-"
GIVEN = "TEST_SERVERS_GIVEN"  # set for the workers of pytest-xdist, which find the servers of their controller


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """Start the servers; a wrapper runs before pytest-django's own hook, which loads the settings."""
    os.environ.setdefault("JOBPLATFORM_PROFILE", "test")
    os.environ.setdefault("SECRET_KEY", secrets.token_hex(32))
    os.environ.setdefault("EMBEDDED_CHAIN", "0")  # a platform that a test starts has a chain only where it is asked for
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and GIVEN in os.environ:
        os.environ["BROKER_URL"] += f"?virtual_host={int(worker.removeprefix('gw')) + 1}"
    elif not (os.environ.get("DATABASE_URL") and os.environ.get("BROKER_URL")):
        _start(early_config)
    return (yield)


def _start(config: pytest.Config) -> None:
    _remove_remains()
    data_dir = CACHE / f"{PREFIX}{os.getpid()}"
    embedded = Embedded(data_dir, durable=False)
    try:
        embedded.start()
    except EmbeddedError as error:
        raise pytest.UsageError(str(error)) from error

    def remove() -> None:
        embedded.destroy()
        shutil.rmtree(data_dir, ignore_errors=True)

    config.add_cleanup(remove)
    os.environ.setdefault("DATABASE_URL", embedded.database_url)
    os.environ.setdefault("BROKER_URL", embedded.broker_url)
    os.environ.setdefault("STORAGE_URL", f"file://{data_dir}/storage")
    os.environ[GIVEN] = "1"


def _remove_remains() -> None:
    """Delete what sessions that were killed have left; those that still run hold their lock."""
    for data_dir in CACHE.glob(f"{PREFIX}*"):
        try:
            Embedded(data_dir).destroy()
        except EmbeddedError:
            continue
        shutil.rmtree(data_dir, ignore_errors=True)
