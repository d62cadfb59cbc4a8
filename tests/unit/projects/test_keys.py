"""The text of an API key."""

import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobplatform.telemetry import scrubbed
from projects import keys

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_a_key_has_its_form() -> None:
    new = keys.generate()

    assert re.fullmatch(r"jp_live_[a-z2-7]{12}_[0-9A-Za-z]{32}[0-9A-Za-z]{6}", new.text)
    assert re.fullmatch(keys.PATTERN, new.text)
    assert keys.key_id_of(new.text) == new.key_id
    assert keys.checksum(new.text[:-6]) == new.text[-6:]


def test_keys_are_all_different() -> None:
    made = [keys.generate() for _ in range(500)]

    assert len({new.text for new in made}) == len({new.key_id for new in made}) == 500
    assert {character for new in made for character in new.text[21:53]} == set(BASE62)


def test_a_key_does_not_show_its_text_in_a_repr_or_a_log() -> None:
    new = keys.generate()

    assert new.text not in repr(new)
    assert new.text[21:] not in scrubbed(f"the key is {new.text}")


@given(st.text())
def test_a_checksum_is_the_crc_in_base_62(body: str) -> None:
    text = keys.checksum(body.encode(errors="replace").decode())

    number = 0
    for character in text:
        number = number * 62 + BASE62.index(character)
    assert len(text) == 6
    assert number == zlib.crc32(body.encode(errors="replace"))


@given(st.text() | st.text(BASE62 + "_", min_size=30).map(lambda rest: f"jp_live_{rest}"))
def test_another_text_has_no_key_id(text: str) -> None:
    assert keys.key_id_of(text) is None or re.fullmatch(keys.PATTERN, text)


@pytest.mark.parametrize(
    "text",
    [
        "jp_live_abcdefghijkl_" + "a" * 37,
        "jp_live_abcdefghijkl_" + "a" * 39,
        "jp_live_ABCDEFGHIJKL_" + "a" * 38,
        "jp_live_abcdefghijk1_" + "a" * 38,
        "jp_test_abcdefghijkl_" + "a" * 38,
        "jp_live_abcdefghijkl_" + "ä" * 38,
        "jp_live_abcdefghijkl_" + "a" * 38 + "\n",
        " jp_live_abcdefghijkl_" + "a" * 38,
        "jp_live_abcdefghijkl_" + "a" * 37 + "\x00",
    ],
)
def test_a_near_miss_has_no_key_id(text: str) -> None:
    assert keys.key_id_of(text) is None


def test_what_is_kept_depends_on_every_character_and_on_the_pepper() -> None:
    text = keys.generate().text
    kept = keys.digest(text, "pepper")

    assert len(kept) == 32
    assert kept == keys.digest(text, "pepper")
    assert kept != keys.digest(text, "salt")
    assert kept != keys.digest(text[:-1] + ("a" if text[-1] != "a" else "b"), "pepper")
    assert text.encode() not in kept
