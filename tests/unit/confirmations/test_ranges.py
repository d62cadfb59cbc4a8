"""Ranges of blocks: what providers say about them, and that a scan comes to its end under any limits."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from confirmations import ranges
from confirmations.ranges import FEW, LONGEST, Limit, Refusal, Span, refusal_of

ALCHEMY = (
    "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range and no limit on the"
    " response size, or you can request any block range with a cap of 10K logs in the response. Based on your"
    " parameters and the response size limit, this block range should work: [0x10, 0x1f]"
)
DAY = ranges.TRY_AGAIN_SECONDS


@pytest.mark.parametrize(
    ("message", "data", "limit", "hint"),
    [
        # Alchemy
        (ALCHEMY, None, Limit.RESULTS, 16),
        ("Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range.", None, Limit.BLOCKS, 10),
        # Infura
        (
            "query returned more than 10000 results. Try with this block range [0x64, 0xc7].",
            {"from": "0x64", "limit": 10000, "to": "0xc7"}, Limit.RESULTS, 100,
        ),
        ("query returned more than 10000 results", {"from": "0x1", "to": "0x2"}, Limit.RESULTS, 2),
        # QuickNode
        ("eth_getLogs is limited to a 10,000 range", None, Limit.BLOCKS, 10_000),
        ("eth_getLogs is limited to a 5 range", None, Limit.BLOCKS, 5),
        # geth
        ("exceed maximum block range 5000", None, Limit.BLOCKS, 5000),
        ("exceed maximum block range: 5000", None, Limit.BLOCKS, 5000),
        # Ankr, and others
        ("block range is too wide", None, Limit.BLOCKS, None),
        ("query exceeds max results 20000, retry with the range 1-2", None, Limit.RESULTS, None),
        ("logs matched by query exceeds limit of 10000", None, Limit.RESULTS, None),
        ("block range too large, maximum is 2000 blocks", None, Limit.BLOCKS, 2000),
        ("query timeout exceeded", None, Limit.RESULTS, None),
        ("request timed out", None, Limit.RESULTS, None),
        ("limited to 0 - 1000 blocks range", None, Limit.BLOCKS, 1000),
        ("query exceeds max block range 1000", None, Limit.BLOCKS, 1000),
        ("Max range: 800", None, Limit.BLOCKS, 800),
        ("at most 1,000 blocks", None, Limit.BLOCKS, 1000),
        ("ranges over 10000 blocks are not supported", None, Limit.BLOCKS, 10_000),
        ("block range exceeds 1000", None, Limit.BLOCKS, 1000),
        # nobody knows
        ("", None, Limit.RESULTS, None),
        ("internal error", {"from": 7, "to": None}, Limit.RESULTS, None),
        ("block range [0x20, 0x10]", None, Limit.BLOCKS, None),  # no range at all
        ("maximum block range: 0", None, Limit.BLOCKS, None),
    ],
)  # fmt: skip
def test_what_providers_say_is_understood(message: str, data: Any, limit: Limit, hint: int | None) -> None:
    assert refusal_of(message, data) == Refusal(limit, hint)


@given(
    st.text(),
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    ),
)
def test_whatever_a_node_says_means_something(message: str, data: Any) -> None:
    refusal = refusal_of(message, data)

    assert refusal.hint is None or 1 <= refusal.hint <= LONGEST + 1


def test_a_limit_of_blocks_is_kept_and_one_of_results_is_not() -> None:
    span = Span(blocks=1000)

    kept = span.refused(Refusal(Limit.BLOCKS, 100), 1000, now=5.0)
    now = span.refused(Refusal(Limit.RESULTS), 1000, now=5.0)

    assert (kept.blocks, kept.most, kept.learned_at) == (100, 100, 5.0)
    assert kept.answered(0, 100, now=6.0).blocks == 100
    assert (now.blocks, now.most) == (500, LONGEST)
    assert now.answered(0, 500, now=6.0).blocks == 750


def test_after_a_day_more_is_tried_once() -> None:
    span = Span(blocks=100, most=100, learned_at=0.0)

    assert span.answered(0, 100, now=DAY - 1).blocks == 100
    later = span.answered(0, 100, now=DAY)
    assert (later.blocks, later.most) == (150, 200)


def test_many_logs_or_the_end_of_the_chain_make_no_range_longer() -> None:
    assert Span(100).answered(FEW, 100, now=0.0).blocks == 100
    assert Span(100).answered(0, 3, now=0.0).blocks == 100  # only three blocks were there to be asked for


def test_a_range_ends_at_the_head() -> None:
    assert Span(100).of(10, 1_000) == (10, 109)
    assert Span(100).of(10, 50) == (10, 50)
    assert Span(100).of(10, 10) == (10, 10)


def test_a_single_block_that_is_refused_is_beyond_help() -> None:
    assert Span(1).refused(Refusal(Limit.RESULTS), 1, now=0.0).blocks == 1
    assert ranges.hopeless(1)
    assert not ranges.hopeless(2)


@given(
    most_blocks=st.integers(1, 3_000),
    most_results=st.integers(10, 20_000),
    dense=st.integers(0, 400),
    hints=st.sampled_from(["none", "true", "too many"]),
)
def test_a_scan_under_any_limits_sees_each_block_once(
    most_blocks: int, most_results: int, dense: int, hints: str
) -> None:
    """A chain of 5,000 blocks with so many logs in each of the first 200, on a node with these limits."""
    dense = min(dense, most_results)
    span, begin, head, seen, asked = Span(), 0, 4_999, 0, 0
    while begin <= head:
        asked += 1
        first, last = span.of(begin, head)
        blocks = last - first + 1
        logs = dense * max(0, min(last, 199) - first + 1)
        told = {"none": None, "true": max(1, min(most_blocks, blocks - 1)), "too many": blocks + 7}[hints]
        if blocks > most_blocks:
            span = span.refused(Refusal(Limit.BLOCKS, told), blocks, now=float(asked))
        elif logs > most_results:
            span = span.refused(
                Refusal(Limit.RESULTS, None if told is None else max(1, blocks - 1)), blocks, now=float(asked)
            )
        else:
            seen += blocks
            begin = last + 1
            span = span.answered(logs, blocks, now=float(asked))
        assert asked < 20_000

    assert seen == 5_000
