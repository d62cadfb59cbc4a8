"""GET /events?after=: the log forwards, for a follower, who must not miss what is committed late."""

from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import Client

from jobplatform.processes import wait_until
from tests.integration.events.test_api import EVENTS, append, types
from tests.integration.jobs.test_api_read import pages
from tests.integration.projects.conftest import Call, Tenant, make_tenant


@pytest.fixture
def followed(committed: None) -> Tenant:
    """A tenant whose events are really committed."""
    return make_tenant("Followed")


def follow(tenant: Tenant, after: str, limit: int = 200) -> Any:
    return Client().get(f"{EVENTS}?after={after}&limit={limit}", headers=tenant.headers).json()


def wait_for(tenant: Tenant, number: int, after: str, limit: int = 200) -> Any:
    """The events after a place, once there are so many: writers in other databases of the server hold them back too."""
    assert wait_until(lambda: len(follow(tenant, after, limit)["results"]) >= number, seconds=60)
    return follow(tenant, after, limit)


def test_a_follower_reads_on_from_the_last_event_that_he_has_seen(followed: Tenant) -> None:
    append(followed, "job.queued")
    append(followed, "job.processing", "job.processed")
    first = wait_for(followed, 2, "0", limit=2)
    assert types(first) == ["job.queued", "job.processing"]
    rest = wait_for(followed, 1, first["results"][-1]["id"])
    assert types(rest) == ["job.processed"]
    assert follow(followed, rest["results"][-1]["id"])["results"] == []

    append(followed, "job.failed")

    assert types(wait_for(followed, 1, rest["results"][-1]["id"])) == ["job.failed"]
    assert [types(page) for page in pages(_caller(followed), f"{EVENTS}?after=0&limit=3")] == [
        ["job.queued", "job.processing", "job.processed"],
        ["job.failed"],
    ]


def test_a_follower_is_not_shown_what_an_open_transaction_may_still_go_before(followed: Tenant) -> None:
    append(followed, "job.queued")
    with psycopg.connect(**_params(connection)) as slow:
        slow.execute("select pg_current_xact_id()")  # an early writer, who has not written yet
        append(followed, "job.failed")
        assert types(wait_for(followed, 1, "0")) == ["job.queued"]
        newest_first = Client().get(EVENTS, headers=followed.headers).json()
        assert types(newest_first) == ["job.failed", "job.queued"]  # a person may look at it all the same
    assert types(wait_for(followed, 2, "0")) == ["job.queued", "job.failed"]


def _params(wrapper: Any) -> dict[str, Any]:
    params = wrapper.get_connection_params()
    return {name: value for name, value in params.items() if name not in {"cursor_factory", "context"}}


def _caller(tenant: Tenant) -> Call:
    def send(method: str, path: str) -> Any:
        return Client().generic(method, path, headers=tenant.headers)

    return send
