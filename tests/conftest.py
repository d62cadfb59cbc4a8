"""Fixtures that every test may ask for. The servers of the session itself come from tests/embedded_plugin.py."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from pytest_django import DjangoDbBlocker

from jobplatform.embedded import Embedded, EmbeddedError
from tests.databases import Cluster, django_on
from tests.processes import Servers

SESSION_VARIABLES = (
    "DATABASE_URL", "MIGRATION_DATABASE_URL", "BROKER_URL", "STORAGE_URL", "JOBPLATFORM_PROFILE", "SECRET_KEY",
    "VIRTUAL_CLOCK", "RPC_URL", "RPC_WS_URL",
)  # fmt: skip

# No test is timed: how long an example takes says what else the machine does.
settings.register_profile("untimed", settings.get_profile("ci" if os.environ.get("CI") else "default"), deadline=None)
settings.load_profile("untimed")

PROCESSES = frozenset(
    {"acceptance", "browser", "chaos", "confirmations", "contracts"}
)  # whose tests start real processes, a node among them


LONGEST_FIRST = ("whole", "chaos", "acceptance", "browser", "contracts", "integration", "unit")  # folders


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Side by side, files that take long run first, so that no process is left with one at the end.

    In CI, a test of real processes that failed runs once more, and the summary names it with its traceback. A machine
    that others share may starve a process for seconds. What fails twice fails the run; what is named there is looked
    into all the same.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        places = {folder: place for place, folder in enumerate(LONGEST_FIRST)}
        items.sort(key=lambda item: min((places[part] for part in item.path.parts if part in places), default=0))
    if os.environ.get("CI"):
        for item in items:
            if PROCESSES & set(item.path.parts):
                item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def clean_environment() -> dict[str, str]:
    """The environment for a platform that a test starts: this session's without what points to its own servers."""
    hidden = (*SESSION_VARIABLES, "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    return {name: value for name, value in os.environ.items() if name not in hidden}


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A new data directory with a short path; what servers keep of it, inside and outside, is deleted afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="jp-")).resolve()
    directory.chmod(0o711)  # as a new data directory of root would be
    yield directory
    try:
        Embedded(directory).destroy()
    except EmbeddedError as error:
        pytest.fail(f"Still in use after the test: {error}")
    shutil.rmtree(directory)


@pytest.fixture
def scratch_servers(data_dir: Path) -> Iterator[Embedded]:
    """Servers of this test alone, as durable as in production: it may stop, kill or starve them."""
    with Embedded(data_dir) as embedded:
        yield embedded


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The session's own PostgreSQL, with a migrated template."""
    cluster = Cluster(os.environ["DATABASE_URL"])
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """A PostgreSQL of this module alone. In the session's, what other tests have open holds back readers of the log."""
    with Servers() as servers:
        yield servers.cluster
        servers.cluster.close()


@pytest.fixture
def committed(cluster: Cluster, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A database of this test's own, without a transaction around it: other connections see what it commits."""
    yield from _committed(cluster, django_db_blocker)


@pytest.fixture
def committed_alone(own_cluster: Cluster, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The same in a PostgreSQL of this module alone, so that what is committed is settled for readers of the log."""
    yield from _committed(own_cluster, django_db_blocker)


def _committed(cluster: Cluster, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        url = cluster.make()  # the first call migrates the template
        with django_on(url):
            yield
        cluster.drop(url)
