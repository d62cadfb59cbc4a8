"""Figures beside the rows of a page, each for all of its rows at once."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from django.db import connection
from django.db.models import Count

from confirmations.models import Attempt
from confirmations.states import OPEN

MOST_MEANT = 200
"""Transactions of a signer, the newest, of which the mean cost is taken."""

_LINES = """
select signer_id, step, count(*), min(nonce), min(created_at)
from confirmations_transaction
where step = any(%s) and signer_id = any(%s)
group by signer_id, step
order by signer_id, min(nonce)
"""

# The fee is the most that an attempt offered: what it paid is not kept, and is less. So the balance lasts longer.
_COSTS = """
select wanted.id, avg(coalesce(t.gas_used, a.gas)::numeric * a.fee)
from unnest(%s::uuid[]) as wanted (id)
cross join lateral (
    select tx_hash, gas_used, created_at from confirmations_transaction
    where signer_id = wanted.id order by nonce desc limit %s
) t
join confirmations_attempt a on a.hash = t.tx_hash
where t.created_at > (select platform_now()) - interval '1 day'
group by wanted.id
"""

_COMPLETE = """
select c.id, r.last
from confirmations_contract c
cross join lateral (
    select last from confirmations_scannedrange
    where contract_id = c.id and first <= c.deploy_block order by first limit 1
) r
where c.id = any(%s)
"""


@dataclass(slots=True)
class Line:
    """The open nonces of a signer: how many in each step, and the first of them with its age."""

    steps: dict[str, int] = field(default_factory=dict)
    first: int | None = None
    since: dt.datetime | None = None

    @property
    def open(self) -> int:
        """How many are not final."""
        return sum(self.steps.values())


def lines(signers: Sequence[UUID]) -> dict[UUID, Line]:
    """The open nonces of each of these signers."""
    found = {signer_id: Line() for signer_id in signers}
    with connection.cursor() as cursor:
        cursor.execute(_LINES, ([step.value for step in OPEN], list(signers)))
        for signer_id, step, number, first, since in cursor.fetchall():
            line = found[signer_id]
            line.steps[step] = number
            line.first = first if line.first is None else min(line.first, first)
            line.since = since if line.since is None else min(line.since, since)
    return found


def costs(signers: Sequence[UUID]) -> dict[UUID, Decimal]:
    """The mean of what the last day's mined transactions of these signers cost at most, in wei. Absent: none was."""
    with connection.cursor() as cursor:
        cursor.execute(_COSTS, (list(signers), MOST_MEANT))
        return dict(cursor.fetchall())


def runway(balance: Decimal | None, cost: Decimal | None) -> int | None:
    """How many transactions a balance still pays; None: one of the two is not known."""
    return None if balance is None or not cost else int(balance // cost)


def complete_to(contracts: Sequence[UUID]) -> dict[UUID, int]:
    """The block up to which every log of a contract was read since it was made. Absent: not even its first."""
    with connection.cursor() as cursor:
        cursor.execute(_COMPLETE, (list(contracts),))
        return dict(cursor.fetchall())


def attempts(transactions: Sequence[UUID]) -> dict[UUID, int]:
    """How many attempts there are at each of these transactions."""
    rows = Attempt.objects.filter(transaction_id__in=transactions).order_by().values_list("transaction_id")
    return dict(rows.annotate(number=Count("id")))
