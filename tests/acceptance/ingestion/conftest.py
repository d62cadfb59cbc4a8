"""The platform as its users see it: a web server, a relay and a worker, reached over HTTP alone."""

import json
import os
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pytest_django import DjangoDbBlocker
from uuid_utils.compat import uuid7

from tests.acceptance.jobs.web import Answer
from tests.databases import Cluster
from tests.processes import Platform

ENDED = {"processed", "failed", "rejected", "cancelled"}


class Site:
    """A platform with a web server, and a client of it."""

    def __init__(self, platform: Platform, storage: Path) -> None:
        self.platform = platform
        self.storage = storage
        self.port = _free_port()
        self.server = platform.web(self.port)
        self.key, self.project_id = platform.provision()
        platform.wait_until(self._answers, "the web server")

    def _answers(self) -> bool:
        try:
            return self.call("GET", "/healthz").status == 200
        except OSError:
            return False

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request on a connection of its own."""
        link = HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"} | headers
        try:
            link.request(method, path, body, sent)
            answer = link.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            link.close()

    def post(self, body: bytes, **headers: str) -> Answer:
        """Hand in a message."""
        return self.call("POST", "/api/v1/messages", body, **headers)

    def message(self, id_: str) -> Any:
        """A message as it is now."""
        return self.call("GET", f"/api/v1/messages/{id_}").body

    def ended(self, *ids: str) -> list[Any]:
        """The messages, once all have ended."""
        found: list[Any] = []

        def look() -> bool:
            found[:] = [self.message(id_) for id_ in ids]
            return all(message["status"] in ENDED for message in found)

        self.platform.wait_until(look, "the messages to end")
        return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def body_of(message_id: UUID | str | None = None, company_id: UUID | str | None = None, **data: Any) -> bytes:
    """A message's body."""
    metadata = {
        "message_time": "2026-11-22T06:00:00+01:00",
        "company_id": str(company_id or uuid7()),
        "message_id": str(message_id or uuid7()),
    }
    body = {"metadata": metadata, "data": data or {"order_id": "A-1", "order_time": "2026-11-22T05:59:58Z"}}
    return json.dumps(body, indent=2).encode()


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, cluster: Cluster, django_db_blocker: DjangoDbBlocker) -> Iterator[Site]:
    """Web server, relay and worker on a new database. A module may name a storage class: `STORAGE = "Flaky"`."""
    storage_class = getattr(request.module, "STORAGE", None)
    platform = Platform(cluster, os.environ["BROKER_URL"], handlers=(), env={"ALLOWED_HOSTS": "127.0.0.1"})
    with django_db_blocker.unblock(), platform:
        storage = platform.directory / "storage"
        storage.mkdir()
        if storage_class:
            name = f"tests.acceptance.ingestion.storages.{storage_class}"
            platform._env["STORAGE_URL"] = f"class:{name}?location={storage}"
        site = Site(platform, storage)
        platform.relay()
        platform.worker()
        yield site
