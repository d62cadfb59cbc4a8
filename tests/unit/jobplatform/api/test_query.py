"""Times, ids and texts as requests write them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from jobplatform.api.query import Moment, rfc3339


class Asked(BaseModel):
    at: Moment


@pytest.mark.parametrize(
    "text, expected",
    [
        ("2026-11-22T06:00:00Z", datetime(2026, 11, 22, 6, tzinfo=UTC)),
        ("2026-11-22t06:00:00z", datetime(2026, 11, 22, 6, tzinfo=UTC)),
        ("2026-11-22 06:00:00+00:00", datetime(2026, 11, 22, 6, tzinfo=UTC)),
        ("2026-11-22T06:00:00.123456789+05:45", datetime(2026, 11, 22, 0, 15, 0, 123456, tzinfo=UTC)),
        ("2024-02-29T23:59:59-11:30", datetime(2024, 3, 1, 11, 29, 59, tzinfo=UTC)),
    ],
)
def test_a_time_is_understood(text: str, expected: datetime) -> None:
    assert rfc3339(text) == Asked.model_validate({"at": text}).at == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-22",
        "2026-11-22T06:00Z",
        "2026-11-22T06:00:00",
        "2026-11-22T24:00:00Z",
        "2026-11-22T06:60:00Z",
        "2026-11-22T06:00:60Z",
        "2026-02-30T06:00:00Z",
        "2026-11-22T06:00:00+24:00",
        "2026-11-22T06:00:00 Z",
        "20261122T060000Z",
        "1790000000",
        "٢٠٢٦-11-22T06:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2026-11-22T06:00:00Z\n",
    ],
)
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        rfc3339(text)
    with pytest.raises(ValidationError):
        Asked.model_validate({"at": text})


@pytest.mark.parametrize("value", [None, True, 1790000000, 1.5, [], {}])
def test_a_time_is_a_text(value: object) -> None:
    with pytest.raises(ValidationError):
        Asked.model_validate({"at": value})


@given(
    st.datetimes(
        min_value=datetime(1, 1, 3),  # noqa: DTZ001 - Hypothesis wants it without
        max_value=datetime(9999, 12, 29),  # noqa: DTZ001 - (same)
        timezones=st.timezones(),
    )
)
def test_what_python_writes_is_understood_or_refused_but_never_misread(moment: datetime) -> None:
    text = moment.isoformat()
    try:
        assert rfc3339(text) == moment.astimezone(UTC)  # a time in a gap equals none of another zone
    except ValueError:
        assert len(text.rpartition("+")[2].rpartition("-")[2]) > 5  # an offset with seconds, from before 1900


@given(st.text(max_size=40))
def test_no_text_does_harm(text: str) -> None:
    try:
        assert rfc3339(text).tzinfo is UTC
    except ValueError:
        pass
