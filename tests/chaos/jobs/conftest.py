"""A web server and a broker behind a tunnel, for tests that take servers of their own."""

from collections.abc import Iterator

import pytest

from tests.processes import Servers


@pytest.fixture(scope="module")
def own_servers() -> Iterator[Servers]:
    """PostgreSQL and Redis of one module alone, which changes their configuration and puts it right again."""
    with Servers() as servers:
        yield servers
        servers.cluster.close()
