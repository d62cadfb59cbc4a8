"""What the kinds of a chaos run promise (tests/handlers/chaotic.py), and how often the load asks for each."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DONE = frozenset({"processed"})
DEAD = frozenset({"failed"})


@dataclass(frozen=True, slots=True)
class Promise:
    """Of one kind.

    `ends`: how a job of it may stand at the end, if nobody decides otherwise. `within`: it writes a row inside of its
    commit. `once`: it begins once at most. `limit`: so many of one account run at once. `share`: of the load.
    """

    ends: frozenset[str] = DONE
    within: bool = False
    once: bool = False
    limit: int | None = None
    ordered: bool = False
    longest: float = 0.0
    fails: int = 0
    accounts: int = 0
    share: float = 1.0


KINDS: Mapping[str, Promise] = {
    "chaos.quick": Promise(share=30, longest=0.02),
    "chaos.within": Promise(within=True, share=20, longest=0.05),
    "chaos.slow": Promise(share=1.5, longest=3.0),
    "chaos.flaky": Promise(share=6, fails=3),
    "chaos.failing": Promise(ends=DEAD, share=2),
    "chaos.poison": Promise(ends=DEAD, share=0.15),
    "chaos.stuck": Promise(ends=DEAD, share=0.1),
    "chaos.asking": Promise(ends=frozenset({"blocked"}), share=0.7),
    "chaos.refused": Promise(ends=frozenset({"rejected"}), share=1),
    "chaos.once": Promise(ends=frozenset({"processed", "blocked"}), once=True, share=2, longest=0.3),
    "chaos.parking": Promise(share=4, longest=1.5),
    "chaos.asleep": Promise(share=12, longest=2.0),
    "chaos.ordered": Promise(within=True, ordered=True, share=14, longest=0.03, fails=2, accounts=3),
}
WITH_LIMITS: Mapping[str, Promise] = {
    "chaos.limited": Promise(limit=2, share=6, longest=0.6, accounts=2),
    "chaos.paced": Promise(share=2, longest=0.01, accounts=2),
    "chaos.alone": Promise(limit=1, share=1, longest=0.05),
}
ALL: Mapping[str, Promise] = {**KINDS, **WITH_LIMITS}


def payload(kind: str, chance: random.Random, *, n: int, client: int) -> dict[str, Any]:
    """A payload of a kind. Each client has ordered accounts of its own, so that it knows their order."""
    promise = ALL[kind]
    made: dict[str, Any] = {"n": n}
    if promise.longest:
        made["seconds"] = round(chance.uniform(0, promise.longest) * chance.choice([0.2, 0.5, 1.0]), 3)
    if promise.fails:
        made["fails"] = chance.choice([0, 0, chance.randint(1, promise.fails)])
    if promise.accounts:
        owner = f"client{client}-" if promise.ordered else ""
        made["account"] = f"{owner}{chance.randrange(promise.accounts)}"
    return made
