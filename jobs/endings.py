"""The end of attempts: their outcomes are committed, and what waited behind them gets its turn with it."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from uuid import UUID

from django.db import transaction

from jobs import lanes, limits, store
from jobs.lanes import Settled
from jobs.states import ENDED, Status
from jobs.store import Connection, Verdict


def commit(
    verdicts: Sequence[Verdict],
    *,
    worker: int,
    on: Connection | None = None,
    within: Callable[[], None] | None = None,
) -> dict[UUID, tuple[Status, int]]:
    """Commit verdicts. Returns status and shelf by id of those whose claim still held; the others changed nothing.

    `within`: run behind the fence, in the same transaction, which is the caller's; not for verdicts that are late.
    """
    if within is None and all(v.lane is None and v.limit is None and v.awaited is None for v in verdicts):
        return store.commit_many(verdicts, worker=worker, on=on)
    settled: Settled | None = None
    opened: list[int] = []
    with nullcontext() if within else (on or store.connection_of_django()).transaction():
        done = store.commit_many(verdicts, worker=worker, on=on)
        ours = [verdict for verdict in verdicts if verdict.id in done]
        left = {(v.project_id, v.lane): v.lane_no or 0 for v in ours if v.lane is not None and done[v.id][0] in ENDED}
        parked = [(v, v.awaited) for v in ours if v.awaited is not None and done[v.id][0] is Status.PARKED]
        if parked:
            store.await_many(parked, on=on)
        if left:
            settled = lanes.settle(left.keys(), after=left, on=on)
        if within and done:
            within()
        # Last: whoever claims jobs of these keys waits from here on.
        opened = limits.give_back(ours, on=on)
    if on is None:
        transaction.on_commit(lambda: _follow(settled, opened, on))  # at once, unless the transaction is the caller's
    else:
        _follow(settled, opened, on)
    return done


def _follow(settled: Settled | None, opened: Sequence[int], on: Connection | None) -> None:
    if settled is not None:
        lanes.follow(settled, on=on)
    limits.follow(opened)
