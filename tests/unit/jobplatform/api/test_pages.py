"""Limits and cursors of pages."""

import base64
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.request import Request

from jobplatform.api.pages import CursorPage, limit_of
from jobplatform.api.problems import Problem

ID = UUID("018f6b1e-7b1c-7c3e-9d2a-1b2c3d4e5f60")


def page_of(path: str, keys: tuple[str, ...] = ("id",), **query: str) -> CursorPage:
    return CursorPage(Request(RequestFactory().get(path, query)), keys=keys)


def next_of(page: CursorPage, key: tuple[Any, ...]) -> str:
    answer = page.answer([key] * page.fetch, key=lambda row: row, show=lambda row: row)
    return str(answer["next"]).partition("cursor=")[2].partition("&")[0]


@pytest.mark.parametrize("text, limit", [(None, 25), ("1", 1), ("200", 200), ("007", 7)])
def test_a_limit_is_read(text: str | None, limit: int) -> None:
    query = {} if text is None else {"limit": text}

    assert limit_of(Request(RequestFactory().get("/", query))) == limit


@pytest.mark.parametrize("text", ["0", "-1", "201", "1e2", "", " 1", "٣", "9" * 5000, "1.0", "0x1"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Problem) as refused:
        limit_of(Request(RequestFactory().get("/", {"limit": text})))

    assert (refused.value.status, refused.value.code) == (400, "invalid_limit")


@pytest.mark.parametrize(
    "key",
    [(ID,), (7, ID), (datetime(2026, 11, 22, 1, 2, 3, 4, tzinfo=UTC), "uabc"), ("t", "s", 2**63)],
)
def test_a_cursor_brings_back_its_key(key: tuple[Any, ...]) -> None:
    names = tuple("abc"[: len(key)])

    page = page_of("/list", names, cursor=next_of(page_of("/list", names, limit="1"), key))

    assert page.after == key
    assert page.backwards is False


@pytest.mark.parametrize(
    "path, keys",
    [("/other", ("id",)), ("/list", ("created_at",)), ("/list", ("id", "created_at"))],
)
def test_a_cursor_holds_for_its_list_only(path: str, keys: tuple[str, ...]) -> None:
    cursor = next_of(page_of("/list", limit="1"), (ID,))

    with pytest.raises(Problem) as refused:
        page_of(path, keys, cursor=cursor)

    assert (refused.value.status, refused.value.code) == (400, "invalid_cursor")


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()) | st.just("A" * 5000))
def test_no_other_text_is_a_cursor(text: str) -> None:
    if not text:
        return

    with pytest.raises(Problem) as refused:
        page_of("/list", cursor=text)

    assert (refused.value.status, refused.value.code) == (400, "invalid_cursor")


@given(st.data())
def test_a_cursor_with_a_changed_byte_is_refused(data: st.DataObject) -> None:
    cursor = next_of(page_of("/list", limit="1"), (ID,))
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))

    with pytest.raises(Problem):
        page_of("/list", cursor=base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="))


def test_a_link_keeps_the_filters() -> None:
    page = page_of("/list", limit="1", status="a b")
    answer = page.answer([(ID,), (ID,)], key=lambda row: row, show=str)

    assert answer["next"].startswith("http://testserver/list?limit=1&status=a+b&cursor=")
    assert answer["previous"] is None
    assert len(answer["results"]) == 1
