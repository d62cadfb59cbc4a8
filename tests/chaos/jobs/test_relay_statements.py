"""The connection of the relay, or of a consumer of the log, breaks at the i-th statement, for every i (T22)."""

from collections import Counter
from functools import partial

import pytest

from tests.chaos.jobs.test_statements import JOBS, _is_statement, consistent, units
from tests.often import often
from tests.processes import Platform
from tests.wire import When, Wire

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


def _is_of(program: str, name: str, application: str, unit: str) -> bool:
    return (application, unit) == (program, name)


@pytest.mark.parametrize("when", often({When.REPLY_LOST}, When), ids=lambda when: when.name.lower())
def test_the_relay_goes_on_wherever_its_connection_breaks(own_platform: Platform, when: When) -> None:
    platform = own_platform
    with Wire(platform.database_url, platform.directory) as wire:
        relay = platform.relay(env={"DATABASE_URL": wire.url})
        platform.worker()

        def work() -> None:
            ids = platform.submit("test.within", JOBS) + platform.submit("test.park_once", 1, {"seconds": 0.1})
            platform.wait_ended(ids)
            assert platform.by_status(ids) == {"processed": JOBS + 1}
            consistent(platform, ids[:JOBS])

        work()
        before = len(wire.seen)
        work()
        said = {unit for application, unit in wire.seen[before:] if application == relay.name}
        for name in sorted(said):
            trap = wire.trap(when, partial(_is_of, relay.name, name))
            work()  # and the next round shows that it went on
            platform.wait_until(trap.sprung.is_set, f"the relay to say {name}")
        work()

        assert {"sweep", "INSERT INTO JOBS_DOORBELL", "SELECT PG_TRY_ADVISORY_LOCK"} <= said
        assert relay.alive


SEEN = "create table seen (number bigserial, subject_id uuid, seq int, pid int)"
UNSEEN = "select count(*) from unnest(%s::uuid[]) job where not exists (select 1 from seen where subject_id = job)"
AT_THE_END = """
    insert into events_consumer (name, position, last_id, failures, error, moved_at)
    values ('test_writer', (select event_horizon()) - 1, 9223372036854775807, 0, '', clock_timestamp())"""


@pytest.mark.parametrize("when", often({When.REPLY_LOST}, When), ids=lambda when: when.name.lower())
def test_a_consumer_sees_each_event_once_wherever_its_connection_breaks(own_platform: Platform, when: When) -> None:
    platform = own_platform
    platform.execute(SEEN)
    platform.execute(AT_THE_END)
    with Wire(platform.database_url, platform.directory) as wire:
        handlers = "tests.handlers.good,tests.handlers.consuming"
        driver = platform.driver(env={"DATABASE_URL": wire.url, "JOBPLATFORM_HANDLERS": handlers})

        def read() -> list[str]:
            before = len(units(wire))
            ids = platform.submit("test.silent", 3)

            def seen() -> bool:
                platform.execute("update events_consumer set retry_at = null where retry_at is not null")
                driver.call("consume", "test_writer")
                return bool(platform.value(UNSEEN, ids) == 0)

            platform.wait_until(seen, "the consumer to see all")
            return units(wire)[before:]

        read()
        sequence = Counter(read())
        cut = set()
        for name, number in sequence.items():
            for k in range(1, number + 1):
                trap = wire.trap(when, partial(_is_statement, name), nth=k)
                read()
                wire.disarm()
                cut.add(trap.cut)
                assert platform.rows("select subject_id from seen group by 1, seq having count(*) > 1") == []
                read()  # a new connection has everything prepared again

    assert cut >= {"read", "COMMIT", "INSERT INTO SEEN", "UPDATE EVENTS_CONSUMER SET"}
