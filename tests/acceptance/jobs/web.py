"""A web server as it ships, with a client that keeps many connections open."""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from tests.databases import Cluster
from tests.processes import Platform

JOBS = "/api/v1/jobs"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)


class Web:
    """The web process of the Procfile on a platform's database."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.key, _ = platform.provision()
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it, on a new port, and return when it answers."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.program = self.platform.web(self.port)
        self.platform.wait_until(self._answers, "the web server")

    def _answers(self) -> bool:
        try:
            return self.call("GET", "/healthz").status == 200
        except OSError:
            return False

    def open(self, method: str, path: str, body: Any = None, **headers: str) -> HTTPConnection:
        """Send a request and leave its answer for later."""
        link = HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        link.request(method, path, None if body is None else json.dumps(body), sent)
        return link

    @staticmethod
    def read(link: HTTPConnection) -> Answer:
        """The answer to what was sent."""
        try:
            answer = link.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            link.close()

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request on a connection of its own."""
        return self.read(self.open(method, path, body, **headers))

    def connections(self) -> int:
        """How many connections to the database the web server has."""
        name = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'http'"
        return int(self.platform.value(name))


@pytest.fixture(scope="module")
def web(cluster: Cluster, django_db_blocker: DjangoDbBlocker) -> Iterator[Web]:
    """A web server on a new database; tests start relay and worker where they want them."""
    platform = Platform(cluster, os.environ["BROKER_URL"], env={"ALLOWED_HOSTS": "127.0.0.1"})
    with django_db_blocker.unblock(), platform:
        yield Web(platform)
