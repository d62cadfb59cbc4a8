"""What goes on chain for a job can be computed again by anybody who has the job."""

import json
from uuid import UUID

import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from confirmations import results

JOB = UUID("019a1b2c-0000-7000-8000-00000000abcd")
# Numbers that a double has: the others are told apart below.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)  # fmt: skip


def test_it_is_computed_as_it_is_documented() -> None:
    payload, output = '{"b": 1, "a": [1.0, "é"]}', '{"sum": 2.5}'

    payload_hash = "0x" + keccak('{"a":[1,"é"],"b":1}'.encode()).hex()
    said = f'{{"id":"{JOB}","kind":"order.book","output":{{"sum":2.5}},"payload_hash":"{payload_hash}"}}'
    assert results.result_hash(job_id=JOB, kind="order.book", payload=payload, output=output) == keccak(said.encode())


@given(JSON)
def test_the_order_of_names_and_the_spaces_of_a_text_do_not_matter(value: object) -> None:
    assert results.canonical(json.dumps(value, indent=3)) == results.canonical(json.dumps(value, sort_keys=True))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="ascii")) | st.text('\\u"/.eE0-9 \b\x7f'),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="ascii")), inner, max_size=4)
    ),
)


@given(st.one_of(JSON, PLAIN), st.booleans())
def test_the_short_way_to_a_canonical_text_leads_where_the_long_one_does(value: object, ascii_: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_)

    assert results.canonical(text) == results.thoroughly(text)


@given(JSON)
def test_a_canonical_text_is_the_value_itself(value: object) -> None:
    text = results.canonical(json.dumps(value))
    assert json.loads(text, parse_int=float) == json.loads(json.dumps(value), parse_int=float)
    assert results.canonical(text.decode()) == text


@pytest.mark.parametrize(
    ("digits", "canonical"),
    [
        ("1", b"1"),
        ("1.0", b"1"),
        ("-0", b"0"),
        ("1e3", b"1000"),
        ("9007199254740991", b"9007199254740991"),
        ("9007199254740992", b"9007199254740992"),
        ("100000000000000000000000", b"1e+23"),
        ("-9007199254740993", b'"-9007199254740993"'),
        ("0.1", b"0.1"),
        ("0.1000000000000000055", b'"0.1000000000000000055"'),
        ("1e400", b'"1' + b"0" * 400 + b'"'),
        ("1" * 5000, b'"' + b"1" * 5000 + b'"'),
        ("0.10000000000000000550", b'"0.1000000000000000055"'),
        ("1e-400", b'"0.' + b"0" * 399 + b'1"'),
    ],
)
def test_a_number_that_no_double_is_stays_the_number_that_it_is(digits: str, canonical: bytes) -> None:
    assert results.canonical(digits) == canonical


@given(st.uuids())
def test_a_job_is_found_by_its_word(job: UUID) -> None:
    word = results.job_bytes(job)
    assert len(word) == 32
    assert results.job_of(word) == job


def test_a_word_of_somebody_else_is_no_job() -> None:
    assert results.job_of(b"\1" * 32) is None
