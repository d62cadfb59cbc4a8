"""What the metrics show of a transaction that somebody holds open."""

from uuid import uuid4

import pytest
from django.db import connection

from events import consumers, log
from events.log import NewEvent
from jobplatform import metrics
from jobs.bell import connect
from jobs.states import PLATFORM


def samples() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Value by name and labels."""
    return {
        (sample.name.removeprefix("jobplatform_"), tuple(sample.labels.items())): sample.value
        for family in metrics.collect()
        for sample in family.samples
    }


@pytest.mark.usefixtures("committed_alone")
@pytest.mark.parametrize("writes", [False, True])
def test_a_snapshot_that_somebody_holds_is_shown_with_what_it_holds_back(*, writes: bool) -> None:
    """Any snapshot holds back vacuum; that of a transaction that has written holds back the log as well."""
    consumers.ensure_rows()
    (name, *_) = consumers.SUBSCRIPTIONS
    with connect("reporting") as holder, holder.transaction():
        holder.execute("set transaction isolation level repeatable read")
        holder.execute("select pg_current_xact_id()" if writes else "select count(*) from jobs_job")
        log.append([NewEvent(PLATFORM, "schedule.paused", uuid4(), 1, {"schedule": "a", "reason": "b"})])
        read = consumers.run(name)
        held = samples()
    consumers.run(name)
    free = samples()

    application = connection.get_connection_params()["application_name"]
    lag, rows = (("consumer_lag_seconds", (("consumer", name),)), ("consumer_lag_rows", (("consumer", name),)))
    assert held["oldest_snapshot_seconds", (("holder", f"{application}:reporting"),)] > 0
    assert (held["log_held_seconds", ()] > 0) == writes
    assert (read, held[rows], held[lag] > 0) == ((0, 1, True) if writes else (1, 0, False))
    assert (free["log_held_seconds", ()], free["oldest_snapshot_seconds", (("holder", ""),)]) == (0, 0)
    assert (free[rows], free[lag]) == (0, 0)
