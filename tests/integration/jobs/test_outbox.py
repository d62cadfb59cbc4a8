"""Verdicts that the database cannot take, among others that it can."""

from dataclasses import replace

import pytest

from jobs import registry
from jobs.bell import bell
from jobs.judge import Finished, judge
from jobs.models import Job
from jobs.outbox import Outbox
from jobs.outcomes import Block, Done
from jobs.store import Claimed, Verdict, claim_many
from tests.contracts.deliveries import Worker
from tests.integration.jobs.booking import booking, statuses, submit

__all__ = ["booking"]

pytestmark = pytest.mark.usefixtures("committed", "booking")

NOT_STORABLE = '{"text": "\\u0000"}'


def unstorable(verdict: Verdict) -> Verdict:
    """The verdict, with an output that jsonb refuses."""
    return replace(verdict, output=NOT_STORABLE)


@pytest.mark.parametrize(("lane", "left"), [(None, "failed"), ("a", "blocked")], ids=["alone", "in a lane"])
@pytest.mark.parametrize("answer", [Done(), Block("look at it")], ids=["done", "blocked"])
def test_one_that_cannot_be_stored_is_told_apart_and_its_neighbours_are_kept(
    answer: Done | Block, lane: str | None, left: str
) -> None:
    kind = registry.get("account.book")
    culprit, neighbours = submit("", lane=lane), submit("", "", lane=None)
    worker = Worker(kind, "one")
    claimed: list[Claimed] = []
    while found := claim_many(kind.name, batch=10, worker=worker.id):
        claimed += found
    outbox = Outbox(worker.id, bell)
    for job in claimed:
        mine = job.id == culprit[0]
        verdict = judge(kind, Finished(job, answer if mine else Done(), None, 0.1))
        outbox.put(unstorable(verdict) if mine else verdict)

    outbox.flush()

    assert statuses(neighbours) == ["processed", "processed"]
    assert statuses(culprit) == [left]
    assert (Job.objects.get(id=culprit[0]).error or {})["code"] == "bad_output"
