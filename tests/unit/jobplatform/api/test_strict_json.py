"""What may and may not be in a body."""

import json
import math
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobplatform.api import strict_json
from jobplatform.api.problems import Problem
from tests.corpora.bad_json import BAD_JSON, GOOD_JSON, JSON, BadBody, within

BODIES = [bad for bad in BAD_JSON if bad.content_type == JSON]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(strict_json.SMALLEST_INTEGER, strict_json.LARGEST_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from([":", '":', "\\u003a", "\\u0000", "1234567890123456789012", "[{", "}]"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=30,
)


def refusal_of(body: bytes) -> Problem:
    with pytest.raises(Problem) as refused:
        strict_json.loads(body)
    return refused.value


@pytest.mark.parametrize("bad", BODIES, ids=str)
def test_a_bad_body_is_refused_with_its_code(bad: BadBody) -> None:
    problem = refusal_of(bad.body)

    assert (problem.status, problem.code) == (bad.status, bad.code)
    assert len(problem.detail) < 300


@pytest.mark.parametrize("bad", [bad for bad in BODIES if bad.is_value], ids=str)
def test_a_bad_value_is_refused_inside_of_a_good_body(bad: BadBody) -> None:
    envelope = b'{"metadata": {"id": "018f6b1e", "n": [1, 2, {"a": ":"}]}, "data": %s, "more": "..."}'

    assert refusal_of(within(bad, envelope).body).code == bad.code


@pytest.mark.parametrize("body", GOOD_JSON, ids=lambda body: body[:40].decode(errors="replace"))
def test_an_odd_body_that_is_fine_is_read_as_the_standard_library_reads_it(body: bytes) -> None:
    assert strict_json.loads(body) == json.loads(body)


@given(values, st.booleans())
def test_what_json_can_say_is_read_exactly(value: Any, escaped: bool) -> None:
    body = json.dumps(value, ensure_ascii=escaped).encode()

    read = strict_json.loads(body)

    assert read == value
    assert json.dumps(read) == json.dumps(value)  # 1 is not 1.0, and the order of keys is kept


@given(st.dictionaries(texts, values, min_size=1, max_size=4), st.data())
def test_a_key_that_is_named_twice_is_found_wherever_it_stands(value: dict[str, Any], data: st.DataObject) -> None:
    twice = data.draw(st.sampled_from(sorted(value)))
    escape = data.draw(st.booleans())
    parts = [f"{json.dumps(key, ensure_ascii=escape)}:{json.dumps(item)}" for key, item in value.items()]
    parts.insert(data.draw(st.integers(0, len(parts))), f"{json.dumps(twice)} : {json.dumps(data.draw(values))}")
    document = "{" + ",".join(parts) + "}"
    envelope = data.draw(st.sampled_from(["%s", '[1,%s,{"a":":"}]', '{"x":{"y":[%s]}}']))

    assert refusal_of(envelope.replace("%s", document).encode()).code == "duplicate_key"


@given(values, st.sampled_from([2**64, -(2**63) - 1, 10**20, 10**30]), st.data())
def test_an_integer_beyond_64_bits_is_never_rounded(value: Any, number: int, data: st.DataObject) -> None:
    body = json.dumps(data.draw(st.sampled_from([[value, number], {"a": value, "b": {"c": number}}]))).encode()

    assert refusal_of(body).code == "number_out_of_range"


@given(st.binary(max_size=200) | st.text('[]{}":,\\u0123eE+-. nN', max_size=60).map(str.encode))
def test_any_bytes_are_read_as_json_or_refused_as_a_problem(body: bytes) -> None:
    try:
        value = strict_json.loads(body)
    except Problem:
        return

    assert value == json.loads(body.decode())
    assert not any(isinstance(item, float) and not math.isfinite(item) for item in [value])


@given(values, st.integers(0, 80))
def test_depth_is_counted_in_arrays_and_objects(value: Any, levels: int) -> None:
    def depth(item: Any) -> int:
        inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else None
        return 0 if inner is None else 1 + max((depth(part) for part in inner), default=0)

    for _ in range(levels):
        value = [value]

    assert strict_json.deeper_than(value, strict_json.DEEPEST) is (depth(value) > strict_json.DEEPEST)


def test_nearly_every_body_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def careful(_body: bytes) -> Any:
        raise AssertionError

    monkeypatch.setattr(strict_json, "_loads_carefully", careful)
    body = {"kind": "a:b", "at": "2026-11-22T05:50:00Z", "url": "https://a.b:8000/", "é": "\\u00e9 ü", "n": [1, 2.5]}

    assert strict_json.loads(orjson.dumps(body)) == body


@pytest.mark.parametrize("part", [b"[]", b"{}", b"0", b'""', b'"\\""', b'{"a":0}', b'[",{["]', b" [ ] \n"])
def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch, part: bytes) -> None:
    monkeypatch.setattr(strict_json, "MOST_VALUES", 100)
    fits = b"[" + b",".join([part] * 40) + b"]"
    too_many = b"[" + b",".join([part] * 101) + b"]"

    assert len(strict_json.loads(fits)) == 40
    assert (refusal_of(too_many).status, refusal_of(too_many).code) == (400, "too_many_values")
    assert refusal_of(too_many[:-1]).code == "too_many_values"


@pytest.mark.parametrize("text", ["1,2,3\n" * 100, '{"a": [' * 100, '\\",' * 100])
def test_what_stands_in_a_text_is_no_value(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(strict_json, "MOST_VALUES", 10)

    assert strict_json.loads(json.dumps({"text": text, text: 1}).encode()) == {"text": text, text: 1}


def test_a_text_without_an_end_is_no_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_json, "MOST_VALUES", 10)

    assert refusal_of(b'["' + b"a," * 100).code in {"invalid_json", "too_many_values"}


def test_a_large_body_of_nothing_is_refused_in_a_moment() -> None:
    began = time.process_time()

    for part in (b"[],", b'"",', b'"":0,', b"{}, "):
        assert refusal_of((b"[" + part * (16 * 2**20 // len(part)))[: 16 * 2**20]).code == "too_many_values"

    assert time.process_time() - began < 4


def test_a_text_that_is_never_closed_is_read_once() -> None:
    """Its escaped quotes are no beginnings of other texts: with each of them the rest would be read again."""
    began = time.process_time()

    body = b"[" + b"," * (strict_json.MOST_VALUES + 1) + b'"' + b'\\"' * 400_000
    assert refusal_of(body).code == "too_many_values"
    assert refusal_of(b"[" + b"," * 10 + b'"' + b",[{" * 100_000 + b'\\"' * 400_000).code == "invalid_json"

    assert time.process_time() - began < 4


def test_a_problem_does_not_repeat_what_was_sent() -> None:
    problem = refusal_of(b'{"password": "hunter2", "password": "hunter3"}')

    assert "hunter" not in str(problem.body())


def test_a_body_of_very_many_texts_takes_no_memory_of_their_number() -> None:
    """Nobody keeps what was found of them while the brackets between are counted."""
    body = b"[]" * 1000 + b'""' * 2_000_000
    tracemalloc.start()
    try:
        with pytest.raises(Problem) as refused:
            strict_json.loads(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert refused.value.code == "invalid_json"
    assert peak < 20 * len(body)  # the parser itself takes twelve to say what is wrong


@pytest.mark.parametrize("text", [b"[", b'{"a":', b'["]",', b'[{"a\\"[":'])
def test_a_library_that_raised_the_recursion_limit_lets_no_body_end_the_process(text: bytes) -> None:
    """Python itself would follow so many brackets until the stack of C overflows."""
    program = (
        "import sys; sys.setrecursionlimit(10**6)\n"
        "from jobplatform.api import strict_json\nfrom jobplatform.api.problems import Problem\n"
        f"try: strict_json.loads({text!r} * 100_000)\n"
        "except Problem as problem: print(problem.code)"
    )
    root = Path(strict_json.__file__).parents[2]

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root)

    assert done.stdout.strip() == "too_deep"
