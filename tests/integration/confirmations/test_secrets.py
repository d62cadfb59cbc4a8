"""A key and what opens it show themselves nowhere: in no table, log, error, answer or page, whatever goes wrong (S19)."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from confirmations import keys, signing
from confirmations.errors import KeyUnreadable
from confirmations.models import Attempt, Network
from jobs.models import Job
from tests.integration.confirmations.test_answers import confirmed_once, settle
from tests.integration.projects.conftest import Call, Tenant, call, make_tenant
from tests.world import World

__all__ = ["call"]

PASSPHRASE = "open sesame"
OTHER = "not this sesame"
API = ("signers", "confirmations", "interventions", "jobs", "events")
LISTS = ("signer", "transaction", "confirmation", "contract", "network")


@pytest.fixture
def ours(world: World) -> Tenant:
    return make_tenant("Ours")


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    """A process that has opened no key yet."""
    signing.key.cache_clear()
    yield
    signing.key.cache_clear()


def secrets_of(world: World) -> list[str]:
    """In all the ways in which they may be written."""
    key = signing.key_of(world.signer)._key.to_bytes()  # type: ignore[attr-defined]
    words = [key, PASSPHRASE.encode(), OTHER.encode()]
    return [
        *(word.hex() for word in words),
        *(repr(word)[2:-1] for word in words),
        *(word.decode("latin-1") for word in words),
        str(int.from_bytes(key)),
    ]


def tables() -> str:
    """All of the database as text; bytes as hexadecimal numbers."""
    with connection.cursor() as cur:
        cur.execute("select format('%I', relname) from pg_class where relkind in ('r', 'p') and not relispartition"
                    " and relnamespace = 'public'::regnamespace")  # fmt: skip
        names = [name for (name,) in cur.fetchall()]
        assert len(names) > 40
        found = []
        for name in names:
            cur.execute(f"select t::text from {name} t")
            found += [row for (row,) in cur.fetchall()]
    return "\n".join(found)


def pages(call: Call) -> str:
    """What the API answers and the admin shows of all that there is."""
    texts = []
    for path in API:
        answer = call("GET", f"/api/v1/{path}")
        assert answer.status_code == 200, path
        texts.append(answer.content.decode())
    root = Client()
    root.force_login(User.objects.create_superuser("root"))
    for name in LISTS:
        page = root.get(f"/admin/confirmations/{name}/")
        assert page.status_code == 200
        texts.append(page.content.decode())
    return "\n".join(texts)


def spoil(world: World, settings: Any, how: str) -> None:
    """Make the key one that cannot be read."""
    path = world.keystore / world.signer.key
    match how:
        case "another passphrase":
            settings.KEYSTORE_PASSPHRASE = OTHER
        case "no passphrase":
            settings.KEYSTORE_PASSPHRASE = ""
        case "damaged":
            path.write_text(path.read_text().replace('"ciphertext": "', '"ciphertext": "00'))
        case "others can read it":
            path.chmod(0o644)
        case "gone":
            path.unlink()
        case "no directory":
            settings.KEYSTORE_DIR = ""


def test_the_right_key_is_found_as_soon_as_it_is_there(world: World, tmp_path: Path) -> None:
    kept = shutil.copy2(world.keystore / world.signer.key, tmp_path / "kept")
    keys.write_keystore(world.keystore / "other.json", bytes([7]) * 32, PASSPHRASE.encode())
    (world.keystore / "other.json").replace(world.keystore / world.signer.key)
    signing.key.cache_clear()
    with pytest.raises(KeyUnreadable, match="is not that of"):
        signing.key_of(world.signer)

    shutil.copy2(kept, world.keystore / world.signer.key)

    assert signing.key_of(world.signer).address == bytes(world.signer.address)


def test_whatever_is_wrong_with_a_key_it_is_told_without_it(  # noqa: PLR0917 - fixtures
    world: World, settings: Any, call: Call, ours: Tenant, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    Network.objects.update(batch_seconds=0, anchor_seconds=0)
    ids = world.submit(1, project_id=ours.project.id)
    world.ask()
    world.send()
    secrets = secrets_of(world)
    kept = shutil.copy2(world.keystore / world.signer.key, tmp_path / "kept")
    ids += world.submit(1, project_id=ours.project.id)
    world.ask()
    for how in ("another passphrase", "no passphrase", "damaged", "others can read it", "gone", "no directory"):
        signing.key.cache_clear()
        spoil(world, settings, how)
        world.send_quietly()
        sender = Job.objects.get(kind="confirmation.send", status="queued")
        assert (sender.error or {})["code"] == "key_unreadable", how
        assert not [word for word in secrets if word in str(sender.error)]
        assert Attempt.objects.count() == 1
        settings.KEYSTORE_DIR, settings.KEYSTORE_PASSPHRASE = str(world.keystore), PASSPHRASE
        shutil.copy2(kept, world.keystore / world.signer.key)
    settle(world)
    confirmed_once(world, ids)

    raws = Attempt.objects.values_list("raw", flat=True)
    everything = {"tables": tables(), "pages": pages(call), "logs": caplog.text}
    assert bytes(raws[0]).hex() in everything["tables"]  # what is searched has the bytes that are there
    assert str(world.signer) in everything["pages"]
    for place, text in everything.items():
        assert not [word for word in secrets if word in text], place
