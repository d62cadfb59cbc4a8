"""Keys of idempotent requests. What they do is in tests/integration/jobplatform/api/test_idempotency.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobplatform.api.idempotency import key_of
from jobplatform.api.problems import Problem

VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)


@pytest.mark.parametrize(
    "header, key",
    [
        ("a", "a"),
        ('"a"', "a"),
        ("  a1-b2  ", "a1-b2"),
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (r'"a\"b\\c"', r'a"b\c'),
        ('a"b', 'a"b'),
        ("~" * 255, "~" * 255),
        ('"' + "k" * 255 + '"', "k" * 255),
    ],
)
def test_a_key_is_read_bare_and_in_quotes(header: str, key: str) -> None:
    assert key_of(header) == key


@pytest.mark.parametrize(
    "header",
    [
        "",
        " ",
        '""',
        '"',
        '"a',
        '"a" b',
        '"a";p=1',
        r'"a\b"',
        "a b",
        '"a b"',
        "a\tb",
        "a\x00b",
        "a\nb",
        "a\x7fb",
        "ä",
        "日本",
        "k" * 256,
        '"' + "k" * 256 + '"',
    ],
)
def test_a_malformed_key_is_refused(header: str) -> None:
    with pytest.raises(Problem) as refused:
        key_of(header)

    assert (refused.value.status, refused.value.code) == (400, "invalid_idempotency_key")


@given(st.text(VISIBLE, min_size=1, max_size=255))
def test_a_quoted_key_is_the_bare_one(key: str) -> None:
    quoted = key.replace("\\", r"\\").replace('"', r"\"")

    assert key_of(f'"{quoted}"') == key


@given(st.text())
def test_any_header_is_a_key_or_refused(header: str) -> None:
    try:
        key = key_of(header)
    except Problem:
        return

    assert key.isascii()
    assert key.isprintable()
    assert 1 <= len(key) <= 255
