"""How answers become bytes."""

import dataclasses
import enum
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import orjson
import pytest
import uuid_utils
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from jobplatform.api.encoding import dumps
from jobplatform.api.renderers import JSONRenderer

ID = UUID("018f6b1e-7b1c-7c3e-9d2a-1b2c3d4e5f60")
NOON = datetime(2026, 11, 22, 12, 0, 0, 5, tzinfo=UTC)


class Colour(enum.StrEnum):
    RED = "red"


class Text(str):
    __slots__ = ()


class Model(BaseModel):
    at: datetime


@dataclasses.dataclass
class Data:
    n: int
    at: datetime


@pytest.mark.parametrize(
    "value, shown",
    [
        (ID, f'"{ID}"'),
        (uuid_utils.UUID(str(ID)), f'"{ID}"'),
        (NOON, '"2026-11-22T12:00:00.000005Z"'),
        (NOON.astimezone(timezone(timedelta(hours=5, minutes=45))), '"2026-11-22T12:00:00.000005Z"'),
        (NOON.astimezone(timezone(timedelta(hours=-3))), '"2026-11-22T12:00:00.000005Z"'),
        (NOON.replace(tzinfo=None), '"2026-11-22T12:00:00.000005Z"'),
        (date(2026, 11, 22), '"2026-11-22"'),
        (Decimal("1.10"), '"1.10"'),
        (Colour.RED, '"red"'),
        (Text("text"), '"text"'),
        (gettext_lazy("lazy"), '"lazy"'),
        ({"b", "a"}, '["a","b"]'),
        (Model(at=NOON), '{"at":"2026-11-22T12:00:00.000005Z"}'),
        (orjson.Fragment(b'{"a": 1}'), '{"a": 1}'),
        (float("nan"), "null"),
        ("2026-11-22T12:00:00+02:00", '"2026-11-22T12:00:00+02:00"'),
    ],
)
def test_a_value_is_shown(value: object, shown: str) -> None:
    assert dumps(value).decode() == shown


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**400, "\ud800", {"\udfff": [2**70]}])
def test_what_orjson_refuses_is_written_all_the_same(value: object) -> None:
    assert json.loads(dumps({"value": [value, 1]}))["value"] == [value, 1]


def test_the_slow_way_writes_everything_that_the_fast_one_does() -> None:
    value = {
        "big": 2**70,
        "at": NOON,
        "id": ID,
        "colour": Colour.RED,
        "data": Data(2**70, NOON),
        "set": {1},
        "nan": float("inf"),
        "raw": orjson.Fragment(b"[1]"),
        "model": Model(at=NOON),
        "tuple": (None, True, 1.5),
        7: "seven",
    }

    assert json.loads(dumps(value)) == {
        "big": 2**70,
        "at": "2026-11-22T12:00:00.000005Z",
        "id": str(ID),
        "colour": "red",
        "data": {"n": 2**70, "at": "2026-11-22T12:00:00.000005Z"},
        "set": [1],
        "nan": None,
        "raw": [1],
        "model": {"at": "2026-11-22T12:00:00.000005Z"},
        "tuple": [None, True, 1.5],
        "7": "seven",
    }


@pytest.mark.parametrize("value", [b"bytes", object(), memoryview(b"")])
def test_what_has_no_json_form_is_an_error_of_ours(value: object) -> None:
    with pytest.raises(TypeError):
        dumps({"value": value})


@given(st.datetimes(timezones=st.timezones()))
def test_every_time_is_in_utc_with_z(moment: datetime) -> None:
    try:
        expected = moment.astimezone(UTC)
    except OverflowError:
        return

    shown = orjson.loads(dumps([moment]))[0]

    assert shown.endswith("Z")
    assert datetime.fromisoformat(shown) == expected


def test_no_data_is_no_body() -> None:
    assert JSONRenderer().render(None) == b""
