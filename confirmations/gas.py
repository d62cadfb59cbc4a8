"""How much gas calls take, measured at the contract itself: forks change what calldata costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from confirmations import registry
from confirmations.states import Mode

MANY = 100
ROOM = (11, 10)
"""A tenth more than a node's estimate."""
TRANSFER = 21_000
"""A transfer without data (the Yellow Paper's G_transaction)."""


@dataclass(frozen=True, slots=True)
class Line:
    """Gas of a call with n jobs: `first` for one, `each` for each more."""

    first: int
    each: int = 0

    def of(self, jobs: int) -> int:
        """What is given to a call with so many jobs."""
        up, down = ROOM
        return (self.first + self.each * (jobs - 1)) * up // down


def measure(estimate: Callable[[bytes], int]) -> Mapping[Mode, Line]:
    """The lines of the three calls, by four estimates. Ids and hashes without a zero byte: those cost most."""
    job, word = UUID(bytes=b"\xff" * 16), b"\xff" * 32
    one = estimate(registry.confirm_many([(job, word)]))
    many = estimate(registry.confirm_many([(job, word)] * MANY))
    return {
        Mode.SINGLE: Line(estimate(registry.confirm(job, word))),
        Mode.BATCH: Line(one, -(-(many - one) // (MANY - 1))),
        Mode.ANCHOR: Line(estimate(registry.anchor(word, 2**32))),
    }
