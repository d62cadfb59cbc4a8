"""Relays that seal are killed in the middle, or are two; the commands, as processes, say what became of the record."""

import signal
import subprocess
import sys
from uuid import UUID

import pytest

from events import audit
from tests.often import often
from tests.processes import ROOT, Platform, send

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

HANDLERS = "tests.handlers.good,tests.handlers.failpoints"
STEPS = [
    "events.sealing:mac:before:50",
    "events.sealing:_seal_slice:after:1",
    "events.sealing:_seal_slice:before:3",
]
PROJECTS = (UUID(int=41), UUID(int=42), None)
RECORDS = 360
SECONDS = 10.0  # within which a record is sealed


def manage(platform: Platform, *arguments: str) -> tuple[int, str]:
    env = platform._environment("cli", None, None)
    ran = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    return ran.returncode, ran.stdout + ran.stderr


def act(number: int = RECORDS) -> None:
    for one in range(number):
        audit.record(
            action="test.act", actor="user:anna", subject_type="test", subject_id=str(one), project_id=PROJECTS[one % 3]
        )


def unsealed(platform: Platform) -> int:
    return int(platform.value("select count(*) from events_auditrecord where chain_no is null"))


@pytest.mark.parametrize("step", often(STEPS[:1], STEPS))
def test_a_relay_killed_while_it_seals_is_replaced_by_the_next(own_platform: Platform, step: str) -> None:
    act()
    mark = own_platform.directory / "died"
    doomed = own_platform.relay(env={"FAILPOINT": step, "FAILPOINT_ONCE": str(mark), "JOBPLATFORM_HANDLERS": HANDLERS})
    own_platform.wait_until(lambda: mark.exists() and not doomed.alive, "the relay to die")
    assert unsealed(own_platform) > 0
    own_platform.relay()
    own_platform.wait_until(lambda: unsealed(own_platform) == 0, "the rest to be sealed")

    code, said = manage(own_platform, "verify_audit")
    assert (code, said.splitlines()[-1]) == (
        0, f"{RECORDS} records of 3 chains are as they were sealed; compared with 0 stored heads.",
    )  # fmt: skip


def test_with_two_relays_every_record_is_sealed_soon_and_one_that_is_changed_is_named(own_platform: Platform) -> None:
    first, _ = own_platform.relay(), own_platform.relay()
    for _ in range(3):
        act(30)
        own_platform.wait_until(lambda: unsealed(own_platform) == 0, "the seals", seconds=SECONDS)
    send(first.pid, signal.SIGSTOP)  # frozen, perhaps in the middle of a round
    act(30)
    own_platform.wait_until(lambda: unsealed(own_platform) == 0, "the seals of the other")
    send(first.pid, signal.SIGCONT)
    assert manage(own_platform, "verify_audit")[0] == 0

    own_platform.execute("alter table events_auditrecord disable trigger all")
    own_platform.execute("update events_auditrecord set reason = 'x' where chain_no = 3 and project_id is null")
    code, said = manage(own_platform, "verify_audit")
    assert code == 1
    assert said.splitlines()[-1].startswith("edit: The platform's chain was changed: record ")
    assert manage(own_platform, "verify_audit", "--project", str(PROJECTS[0]))[0] == 0


def test_a_worker_keeps_the_heads_and_an_end_that_is_cut_off_is_missed(own_platform: Platform) -> None:
    own_platform.some_worker()
    own_platform.relay()
    act(30)
    own_platform.wait_until(lambda: unsealed(own_platform) == 0, "the seals")
    own_platform.wait_ended(own_platform.submit("audit.keep_heads", payload={}))
    code, said = manage(own_platform, "verify_audit")
    assert (code, "compared with 1 stored heads" in said) == (0, True)

    own_platform.execute("alter table events_auditrecord disable trigger all")
    own_platform.execute("delete from events_auditrecord where chain_no = 10 and project_id is null")
    code, said = manage(own_platform, "verify_audit")
    assert code == 1
    assert "truncation: The platform's chain was cut off: it ends with number 9, and the head of" in said
