"""How many blocks are asked for at once, learned from what the node says. Pure: no clock, no network.

Nodes have two limits that must not be mixed up. One is of *blocks*: the same for every range, so what is learned of it
is kept. The other is of *results* (their number, their bytes, or the time they take): it says something about these
blocks only, so the range is halved now, and grows again. Texts and figures are those that providers documented in
2026; what nobody knows is taken for a limit of results, which costs a few questions and never a block.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

LONGEST = 10_000
"""Blocks: nobody needs more at once."""
FEW = 2_000
"""Logs: with fewer than this in an answer the next range is longer."""
GROWTH = 1.5
TRY_AGAIN_SECONDS = 86_400.0
"""So long after a limit of blocks was learned, twice as many are tried once."""


class Limit(StrEnum):
    """What a node has too much of."""

    BLOCKS = "blocks"
    RESULTS = "results"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A range was refused. `hint`: how many blocks would do, by what the node says; None: it does not say."""

    limit: Limit
    hint: int | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """How many blocks are asked for next, and how many at most as far as is known."""

    blocks: int = 1_000
    most: int = LONGEST
    learned_at: float = 0.0  # seconds, by the clock of whoever asks: when `most` was learned

    def of(self, begin: int, head: int) -> tuple[int, int]:
        """The first and the last block of the next range, from `begin` to `head` at most."""
        return begin, min(head, begin + self.blocks - 1)

    def answered(self, logs: int, asked: int, now: float) -> "Span":
        """A range of `asked` blocks was answered with so many logs."""
        most = self.most
        learned_at = self.learned_at
        if most < LONGEST and now - learned_at >= TRY_AGAIN_SECONDS:
            most, learned_at = min(LONGEST, most * 2), now
        if logs >= FEW or asked < self.blocks:
            return Span(self.blocks, most, learned_at)
        return Span(min(most, max(self.blocks + 1, int(self.blocks * GROWTH))), most, learned_at)

    def refused(self, refusal: Refusal, asked: int, now: float) -> "Span":
        """A range of `asked` blocks was refused. Never less than one block: see `hopeless`."""
        fewer = asked // 2 if refusal.hint is None else min(refusal.hint, asked - 1)
        blocks = max(1, fewer)
        if refusal.limit is Limit.BLOCKS:
            return Span(blocks, blocks, now)
        return replace(self, blocks=blocks)


def hopeless(asked: int) -> bool:
    """Whether a refusal of so many blocks cannot be helped by asking for fewer."""
    return asked <= 1


_SPAN_WORDS = (
    "block range",
    "blocks range",
    "max range",
    "ranges over",
    "at most",
    "maximum is set to",
    "range limit",
    "range is too large",
    "range too large",
    "range of blocks",
    "blocks distance",
    "too many blocks",
    "block span",
    "up to a",
    "limited to a",
)
_RESULT_WORDS = (
    "more than",
    "response size",
    "too many results",
    "results exceed",
    "result exceed",
    "timed out",
    "timeout",
    "too many logs",
    "logs matched",
    "response is too big",
    "result set",
    "query exceeds",
)
_PAIR = re.compile(r"\[?\s*(0x[0-9a-f]+)\s*(?:,|-|to)\s*(0x[0-9a-f]+)\s*\]?", re.IGNORECASE)
_BEYOND = re.compile(
    r"beyond (?:the )?(?:current|latest|chain)|extends beyond|block not found|unknown block|header not found"
)
_NUMBER = re.compile(r"(?<![0-9a-z.])([0-9][0-9,]{0,11})(k?)(?:[ -]?blocks?\b|\s+(?:block )?range\b)", re.IGNORECASE)
_MAXIMUM = re.compile(
    r"(?:maximum block range|maximum range|max block range|max range|range limit|limited to(?: a)?(?: 0 -)?|at most"
    r"|ranges over|maximum is set to|block range exceeds)[^0-9]{0,20}([0-9][0-9,]{0,11})"
)


def refusal_of(message: str, data: Any = None) -> Refusal:
    """What a node's error about a range means. `data`: what JSON-RPC carries beside the message."""
    said = message.lower()
    hint = _range_in(data) or _range_in(said)
    results = any(words in said for words in _RESULT_WORDS)
    if "max block range" in said and "result" not in said:
        results = False
    if not results and any(words in said for words in _SPAN_WORDS):
        return Refusal(Limit.BLOCKS, hint or _number_in(said))
    return Refusal(Limit.RESULTS, hint)


def is_beyond_head(message: str) -> bool:
    """Whether a node refuses a range because it has not seen its end: another node may have."""
    return _BEYOND.search(message.lower()) is not None


def _range_in(told: Any) -> int | None:
    """How long the range is that a node proposes: `[0x10, 0x20]` in a text, `{"from": …, "to": …}` beside it."""
    if isinstance(told, dict):
        told = f"{told.get('from')},{told.get('to')}"
    elif isinstance(told, Sequence) and not isinstance(told, str):
        told = ",".join(str(item) for item in told)
    found = _PAIR.search(told) if isinstance(told, str) else None
    if found is None:
        return None
    first, last = (int(text, 16) for text in found.groups())
    return last - first + 1 if first <= last <= first + LONGEST else None


def _number_in(said: str) -> int | None:
    found = _MAXIMUM.search(said) or _NUMBER.search(said)
    if found is None:
        return None
    number = int(found[1].replace(",", "") or 0) * (1000 if found.lastindex == 2 and found[2] else 1)  # noqa: PLR2004 - 10k
    return number if 0 < number <= LONGEST else None
