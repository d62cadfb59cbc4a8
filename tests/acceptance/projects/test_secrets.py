"""The text of a key is nowhere but with its holder: not in the database, its dump, the broker, a log or an answer (S02)."""

import os
import subprocess
from collections.abc import Iterator
from urllib.parse import quote, urlsplit, urlunsplit

import pytest

from jobplatform.places import wheel_programs
from tests.acceptance.jobs.web import JOBS, Web, web
from tests.processes import broker

__all__ = ["web"]

pytestmark = pytest.mark.timeout(240)

KEYS = "/api/v1/keys"
SEND = {"kind": "test.open", "payload": {"n": 1}}


def dump(url: str) -> str:
    """All of a database, as pg_dump writes it."""
    parts = urlsplit(url)
    command = [str(wheel_programs().postgres_bin / "pg_dump"), "--inserts"]
    command += ["--dbname", urlunsplit(parts._replace(netloc=f"{parts.username}@{parts.hostname or ''}"))]
    environment = {"PATH": os.defpath, "PGPASSWORD": parts.password or ""}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def in_the_broker(url: str) -> Iterator[bytes]:
    """What each key of Redis holds."""
    with broker(url) as client:
        for name in client.scan_iter():
            yield name + (client.dump(name) or b"")


def used_rightly(web: Web, key: str) -> None:
    web.key = key
    job = web.call("POST", JOBS, SEND, Idempotency_Key="once").body["id"]
    web.call("GET", f"{JOBS}/{job}?wait=25")
    web.call("GET", f"{KEYS}/{key.split('_')[2]}")
    web.call("POST", JOBS, {"kind": "no.such"})


def used_wrongly(web: Web, key: str) -> list[bytes]:
    """Where people put keys by mistake. Returns what they were answered."""
    odd = (
        {"Authorization": f"Bearer {key} x"},
        {"Authorization": f"Basic {key}"},
        {"X_Api_Key": key},
        {"User_Agent": key},
    )
    answers = [web.call("GET", path, **headers) for headers in odd for path in (JOBS, "/api/v1/nothing", "/admin/")]
    places = f"{JOBS}?api_key={key}", f"{KEYS}/{key}", f"/api/{key}", f"/admin/{key}/", f"{JOBS}?cursor={key}"
    answers += [web.call("GET", place) for place in places]
    answers.append(web.call("POST", KEYS, {"name": "x", "scopes": [key]}))
    web.key = key[:-1] + ("a" if key[-1] != "a" else "b")
    answers.append(web.call("GET", JOBS))
    return [answer.content for answer in answers]


def test_the_text_of_a_key_is_nowhere(web: Web) -> None:
    platform = web.platform
    platform.relay()
    platform.worker()
    owner = web.key
    answer = web.call(
        "POST", KEYS, {"name": "k", "scopes": ["jobs:read", "jobs:write", "keys:write"]}, Idempotency_Key="k"
    )
    issued = answer.body["key"]
    used_rightly(web, issued)
    said = used_wrongly(web, issued)
    web.key = owner
    web.call("POST", f"{KEYS}/{answer.body['id']}/revoke", {"reason": "it was seen"})
    web.key = issued
    assert web.call("GET", JOBS).body["code"] == "api_key_revoked"

    secrets = [key.rpartition("_")[2] for key in (owner, issued)]
    assert all(len(secret) > 30 for secret in secrets)
    kept = dump(platform.database_url)
    assert answer.body["id"] in kept  # the dump is one
    logs = {program.name: program.log for program in platform.programs if program.name != "provision"}
    assert len(logs) >= 4
    passwords = [text for text in (urlsplit(platform.database_url).password, "k" * 50) if text]
    for secret in [*secrets, *(quote(secret) for secret in secrets)]:
        assert secret not in kept
        assert [content for content in said if secret.encode() in content] == []
        assert [text for text in in_the_broker(platform.broker_url) if secret.encode() in text] == []
    for secret in [*secrets, *passwords]:
        assert [name for name, text in logs.items() if secret in text] == []
