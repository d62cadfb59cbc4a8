import datetime as dt
import json
import string
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.serializers import LARGEST_DATA, PostMessage
from jobplatform.api.problems import Problem
from jobplatform.api.validation import validated

GOOD: dict[str, dict[str, Any]] = {
    "metadata": {
        "message_time": "2026-11-22T06:00:00+01:00",
        "company_id": "0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0a",
        "message_id": "0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0b",
    },
    "data": {"order_id": "A-1", "order_time": "2026-11-22T05:59:58Z", "order_amount": 129.9},
}

names = st.text(string.ascii_letters, max_size=8)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


def changed(**metadata: Any) -> dict[str, Any]:
    """The good message with other metadata."""
    return {**GOOD, "metadata": {**GOOD["metadata"], **metadata}}


def codes(body: Any) -> dict[str, str]:
    """Field → code of what is wrong with a message."""
    with pytest.raises(Problem) as refused:
        validated(PostMessage, body)
    assert refused.value.status == 422
    return {error["field"]: error["code"] for error in refused.value.errors}


def test_a_good_message_is_taken_as_it_is() -> None:
    message = validated(PostMessage, GOOD)

    assert message.metadata.company_id == UUID("0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0a")
    assert message.metadata.message_time == dt.datetime(2026, 11, 22, 5, tzinfo=dt.UTC)
    assert message.data == GOOD["data"]


@pytest.mark.parametrize(
    "bad",
    [
        "0192b3c48a1f7c3e9d2a5f6e7d8c9b0a",
        "{0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0a}",
        "urn:uuid:0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0a",
        "0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0a ",
        "0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0",
        "../../../../../../../../etc/passwd",
        "\u0660192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0a",  # an Arabic digit
        "",
        5,
        None,
        ["0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0a"],
    ],
)
def test_an_id_that_is_no_uuid_in_its_usual_form_is_refused(bad: Any) -> None:
    assert codes(changed(company_id=bad)) == {"/metadata/company_id": "uuid"}
    assert codes(changed(message_id=bad)) == {"/metadata/message_id": "uuid"}


def test_ids_in_capitals_name_the_same_company() -> None:
    message = validated(PostMessage, changed(company_id="0192B3C4-8A1F-7C3E-9D2A-5F6E7D8C9B0A"))

    assert str(message.metadata.company_id) == "0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0a"


@pytest.mark.parametrize(
    "bad",
    [
        "2026-11-22T06:00:00",
        "2026-11-22",
        "06:00:00Z",
        "2026-11-22T06:00Z",
        "2026-13-22T06:00:00Z",
        "2026-02-30T06:00:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T06:00:61Z",
        "2026-11-22T06:00:00+25:00",
        "2026-11-22T06:00:00Europe/Berlin",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "1795327201",
        1795327200,
        1795327200.5,
        None,
        {},
    ],
)
def test_a_time_that_is_not_rfc_3339_with_an_offset_is_refused(bad: Any) -> None:
    assert list(codes(changed(message_time=bad))) == ["/metadata/message_time"]


@given(
    st.datetimes(),
    st.integers(-23 * 60, 23 * 60),
    st.sampled_from(["T", "t"]),
)
def test_every_time_with_an_offset_is_kept_to_the_microsecond(naive: dt.datetime, minutes: int, letter: str) -> None:
    naive = min(max(naive, naive.min + dt.timedelta(days=3)), naive.max - dt.timedelta(days=3))
    zone = dt.timezone(dt.timedelta(minutes=minutes))
    text = naive.replace(tzinfo=zone).isoformat().replace("T", letter)

    assert validated(PostMessage, changed(message_time=text)).metadata.message_time == naive.replace(tzinfo=zone)


@given(st.dictionaries(names, json_values, max_size=5))
def test_data_may_be_any_object(data: dict[str, Any]) -> None:
    assert validated(PostMessage, {**GOOD, "data": data}).data == data


@pytest.mark.parametrize("bad", [[], [{}], "{}", 1, None, True])
def test_data_that_is_no_object_is_refused(bad: Any) -> None:
    assert list(codes({**GOOD, "data": bad})) == ["/data"]


@given(json_values)
def test_whatever_is_not_a_message_is_refused_and_never_an_error(value: Any) -> None:
    assert codes(value)
    assert codes({"metadata": value, "data": {}})


def test_fields_that_nobody_knows_are_refused_beside_data_but_not_in_it() -> None:
    assert codes({**GOOD, "date": {}}) == {"/date": "extra_forbidden"}
    assert codes(changed(mesage_time=1)) == {"/metadata/mesage_time": "extra_forbidden"}


def test_what_is_missing_is_named() -> None:
    assert codes({}) == {"/metadata": "missing", "/data": "missing"}
    assert set(codes({"metadata": {}, "data": {}})) == {
        "/metadata/message_time",
        "/metadata/company_id",
        "/metadata/message_id",
    }


def test_data_may_have_256_kib_and_not_a_byte_more() -> None:
    envelope = len(orjson.dumps({"a": ""}))

    validated(PostMessage, {**GOOD, "data": {"a": "x" * (LARGEST_DATA - envelope)}})
    assert codes({**GOOD, "data": {"a": "x" * (LARGEST_DATA - envelope + 1)}}) == {"/data": "data_too_large"}
    assert codes({**GOOD, "data": {"a": "é" * (LARGEST_DATA // 2)}}) == {"/data": "data_too_large"}


def test_white_space_and_escapes_do_not_count() -> None:
    data = {"a": ["é"] * 50_000}

    assert len(json.dumps(data)) > LARGEST_DATA
    assert validated(PostMessage, {**GOOD, "data": data}).data == data
