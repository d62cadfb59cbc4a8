"""What a transaction offers for its place in a block. Pure; all in wei per gas (EIP-1559).

A replacement must offer a tenth more of both fees than what it replaces, or nodes refuse it (geth's PriceBump): an
eighth is offered, and rounded up, so that no rounding of theirs makes it too little.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

BUMP = (9, 8)
"""An eighth more."""


@dataclass(frozen=True, slots=True)
class Fees:
    """What is offered: `tip` to whoever makes the block, `fee` in all at most."""

    tip: int
    fee: int

    def __post_init__(self) -> None:
        if not 0 <= self.tip <= self.fee:
            message = f"a tip of {self.tip} within a fee of {self.fee} wei makes no sense"
            raise ValueError(message)


def offer(*, next_base: int, rewards: Sequence[int], least_tip: int, cap: int) -> Fees | None:
    """What a new transaction offers: the median tip of the last blocks, and room for the base fee to double.

    `next_base`: of the next block; `rewards`: tips of the last blocks (`eth_feeHistory`). None: the base fee alone is
    beyond the cap, so nothing is sent until it falls.
    """
    tip = max(least_tip, int(median(rewards)) if rewards else 0)
    if next_base + min(tip, least_tip) > cap:
        return None
    fee = min(cap, 2 * next_base + tip)
    return Fees(min(tip, fee), fee)


def bump(fees: Fees, *, cap: int, wanted: Fees | None = None) -> Fees | None:
    """What replaces a transaction: an eighth more of both, or what is wanted now if that is more still.

    None: that is beyond the cap; a person decides.
    """
    up, down = BUMP
    tip = max(-(-fees.tip * up // down), fees.tip + 1)
    fee = max(-(-fees.fee * up // down), fees.fee + 1)
    if wanted is not None:
        tip, fee = max(tip, wanted.tip), max(fee, wanted.fee)
    return Fees(tip, max(fee, tip)) if max(fee, tip) <= cap else None
