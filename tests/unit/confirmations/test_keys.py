"""Keys: what they sign, what they refuse, how they are read, and that they show themselves to nobody."""

import copy
import json
import pickle
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_keys.datatypes import PublicKey
from eth_keys.datatypes import Signature as Recoverable

from confirmations import keys
from confirmations.encoding import ORDER, Unsigned, signed
from confirmations.errors import KeyRefuses, KeyUnreadable
from confirmations.keys import Bounds, LocalKey

# The example of web3's own documentation.
SECRET = bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
ADDRESS = bytes.fromhex("2c7536E3605D9C16a7a3D7b1898e529396a65c23")
OPENS = b"correct horse"
CONTRACT = bytes(range(20))
UNSIGNED = Unsigned(chain_id=31337, nonce=0, tip=1, fee=10, gas=50_000, to=CONTRACT, data=b"\x01")
BOUNDS = Bounds(chain_id=31337, contracts=frozenset({CONTRACT}), fee=10, gas=50_000, day=1_000_000)


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    """A keystore with little stretching: quick, and of no use to anybody."""
    made: dict[str, Any] = keys._eth_keyfile().create_keyfile_json(SECRET, OPENS, kdf="scrypt", iterations=2)
    return made


@pytest.fixture
def keystore(tmp_path: Path, stored: dict[str, Any]) -> Path:
    path = tmp_path / "signer.json"
    path.write_text(json.dumps(stored))
    path.chmod(0o600)
    return path


def test_a_key_has_the_address_that_everybody_computes() -> None:
    assert LocalKey(SECRET).address == ADDRESS


@pytest.mark.parametrize("number", range(20))
def test_what_is_signed_is_of_the_key_and_is_what_nodes_take(number: int) -> None:
    unsigned = replace(UNSIGNED, nonce=number)
    key = LocalKey(SECRET)

    made = key.sign(unsigned.digest)

    recovered = Recoverable(vrs=(made.parity, made.r, made.s)).recover_public_key_from_msg_hash(unsigned.digest)
    assert isinstance(recovered, PublicKey)
    assert recovered.to_canonical_address() == ADDRESS
    assert made.s <= ORDER // 2
    assert signed(unsigned, made) == signed(unsigned, key.sign(unsigned.digest))


def test_a_keystore_is_opened_by_its_passphrase(keystore: Path) -> None:
    assert keys.open_keystore(keystore, OPENS).address == ADDRESS


def test_a_keystore_that_was_written_is_its_owners_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "new.json"
    keys.write_keystore(path, SECRET, OPENS)

    assert path.stat().st_mode & 0o777 == 0o600
    assert SECRET.hex() not in path.read_text()
    assert keys.open_keystore(path, OPENS).address == ADDRESS
    with pytest.raises(FileExistsError):
        keys.write_keystore(path, SECRET, OPENS)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": 1}, "version 3"),
        ({"crypto": None}, "version 3"),
        ({"crypto": {"kdf": "pbkdf2"}}, "scrypt"),
        ({"crypto": {"kdf": "scrypt"}}, "damaged"),
        ({"address": "00" * 20}, "holds the key of"),
    ],
)
def test_what_is_no_good_keystore_is_refused_with_the_reason(
    keystore: Path, stored: dict[str, Any], change: dict[str, Any], why: str
) -> None:
    keystore.write_text(json.dumps(stored | change))

    with pytest.raises(KeyUnreadable, match=why):
        keys.open_keystore(keystore, OPENS)


@pytest.mark.parametrize("text", ["", "[]", "7", "{", "null", "\0"])
def test_what_is_no_keystore_at_all_is_refused(keystore: Path, text: str) -> None:
    keystore.write_text(text)

    with pytest.raises(KeyUnreadable):
        keys.open_keystore(keystore, OPENS)


def test_a_wrong_passphrase_is_told_without_what_stands_in_the_file(keystore: Path, stored: dict[str, Any]) -> None:
    with pytest.raises(KeyUnreadable) as refused:
        keys.open_keystore(keystore, b"wrong horse")

    told = "".join(traceback.format_exception(refused.value))
    assert "does not open it" in told
    assert refused.value.__cause__ is None
    assert not [
        secret for secret in ("wrong horse", SECRET.hex(), stored["crypto"]["mac"]) if secret in str(refused.value)
    ]


def test_a_file_that_others_can_read_is_no_secret(keystore: Path) -> None:
    keystore.chmod(0o640)

    with pytest.raises(KeyUnreadable, match="chmod 600"):
        keys.open_keystore(keystore, OPENS)


def test_a_file_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(KeyUnreadable, match="No such file"):
        keys.open_keystore(tmp_path / "none.json", OPENS)


def test_the_passphrase_comes_from_a_file_or_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(OPENS + b"\n")
    file.chmod(0o600)

    assert keys.passphrase({"KEYSTORE_PASSPHRASE_FILE": str(file), "KEYSTORE_PASSPHRASE": "other"}) == OPENS
    assert keys.passphrase({"KEYSTORE_PASSPHRASE": OPENS.decode()}) == OPENS
    with pytest.raises(KeyUnreadable, match="Neither"):
        keys.passphrase({})


def test_a_key_shows_itself_to_nobody() -> None:
    key = LocalKey(SECRET)

    assert SECRET.hex() not in f"{key} {key!r}"
    for copying in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="not copied"):
            copying(key)


def test_reading_keystores_changes_nothing_of_the_process(keystore: Path) -> None:
    """The library raises the recursion limit where it is imported: in a process of its own, to see it happen."""
    program = (
        "import sys; from pathlib import Path; from confirmations import keys; before = sys.getrecursionlimit();"
        f" keys.open_keystore(Path({str(keystore)!r}), {OPENS!r}); assert sys.getrecursionlimit() == before;"
        " assert 'py_ecc' in sys.modules"
    )

    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(keys.__file__).parents[1])


# ------------------------------------------------------------------------------------------------ what is not signed
@pytest.mark.parametrize(
    "unsigned",
    [
        UNSIGNED,
        replace(UNSIGNED, to=ADDRESS, data=b""),  # frees a nonce
        replace(UNSIGNED, tip=0),
    ],
)
def test_what_a_key_is_for_is_signed(unsigned: Unsigned) -> None:
    keys.check(unsigned, BOUNDS, own=ADDRESS, spent=500_000)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"chain_id": 1}, "chain 1"),
        ({"value": 1}, "sends 1 wei"),
        ({"to": ADDRESS}, "none of our contracts"),  # with a call: nothing that frees a nonce
        ({"to": bytes(20)}, "none of our contracts"),
        ({"to": b""}, "none of our contracts"),  # makes a contract
        ({"fee": 11}, "more than 10"),
        ({"tip": 11, "fee": 10}, "more than its fee"),
        ({"tip": -1}, "more than its fee"),
        ({"gas": 50_001}, "50001 gas"),
        ({"gas": 0}, "0 gas"),
    ],
)
def test_what_a_key_is_not_for_is_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(KeyRefuses, match=why):
        keys.check(replace(UNSIGNED, **change), BOUNDS, own=ADDRESS, spent=0)


def test_a_day_has_its_bound() -> None:
    keys.check(UNSIGNED, BOUNDS, own=ADDRESS, spent=500_000)
    with pytest.raises(KeyRefuses, match="today's 1000000 wei"):
        keys.check(UNSIGNED, BOUNDS, own=ADDRESS, spent=500_001)
