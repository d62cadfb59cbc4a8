"""A test that cannot fail proves nothing: bugs planted in a copy of the tree turn the test that guards them red."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.often import often
from tests.processes import ROOT

pytestmark = [pytest.mark.planted, pytest.mark.timeout(240)]

FENCE = "tests/chaos/jobs/test_fence.py::test_a_late_end_is_dropped_while_somebody_else_runs_the_job"
NUMBER = "tests/chaos/jobs/test_fence.py::test_a_late_end_is_dropped_when_the_same_worker_has_claimed_the_job_again"
OWNER = (
    "tests/chaos/jobs/test_fence.py::test_a_claim_that_the_server_forgot_ends_nothing_though_its_number_was_given_again"
)
NOTES = "tests/chaos/jobs/test_fence.py::test_progress_steps_and_announcements_of_a_lost_claim_are_dropped"
HORIZON = "tests/chaos/events/test_order.py::test_the_event_of_a_transaction_that_is_still_open_is_not_skipped"
ORDER = "tests/chaos/events/test_order.py::test_a_caller_whose_transaction_is_older_than_a_jobs_last_event_does_not_turn_their_order"
GUARDS = (FENCE, NUMBER, OWNER, NOTES, HORIZON, ORDER)

BUGS = {
    "fence of the commit": ("jobs/sql/commit.sql", r"(\n\s+and j\.claim(_no|ed_by) = .*){2}", "", {FENCE, NUMBER, OWNER}),
    "number in the fence": ("jobs/sql/commit.sql", r"\n\s+and j\.claim_no = x\.claim_no", "", {NUMBER}),
    "owner in the fence": ("jobs/sql/commit.sql", r"\n\s+and j\.claimed_by = %\(worker\)s", "", {OWNER}),
    "fence of the notes": (
        "jobs/sql/note.sql", r" and j\.claim_no = %\(claim_no\)s\n\s+and j\.claimed_by = %\(worker\)s", "", {NOTES, OWNER}),
    "owner in the notes": ("jobs/sql/note.sql", r"\n\s+and j\.claimed_by = %\(worker\)s", "", {OWNER}),
    "owner in the announcement": ("jobs/sql/announce.sql", r"\n\s+and j\.claimed_by = %\(worker\)s", "", {OWNER}),
    "horizon": ("events/sql/read.sql", r"\n\s+and e\.position < \(select event_horizon\(\)\)", "", {HORIZON, ORDER}),
    "position": ("jobs/sql/commit.sql", r"greatest\(j\.position, \(select event_position\(\)\)\)", "(select event_position())", {ORDER}),
}  # fmt: skip


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    """A copy of what the tests need: Python, SQL and the configuration."""
    unneeded = (".*", "docs", "build", "node_modules", "__pycache__", "benchmarks", "requirements")
    with tempfile.TemporaryDirectory(prefix="jp-") as directory:
        tree = Path(directory).resolve() / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*unneeded))
        yield tree


def results(tree: Path) -> dict[str, str]:
    """Run the guards in a process of their own, in that tree: PASSED or FAILED by test."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        "--tb=line",
        *GUARDS,
    ]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    found = dict(re.findall(r"^(tests/\S+) (PASSED|FAILED|ERROR)", done.stdout, re.MULTILINE))
    assert set(found) == set(GUARDS), done.stdout[-4000:] + done.stderr[-4000:]
    return found


@pytest.mark.parametrize("bug", often({"fence of the commit", "horizon", "position"}, BUGS))
def test_a_planted_bug_turns_its_guards_red_and_no_other(tree: Path, bug: str) -> None:
    path, pattern, replacement, guards = BUGS[bug]
    file = tree / path
    right = file.read_text()
    wrong, number = re.subn(pattern, replacement, right)
    assert number == 1
    file.write_text(wrong)
    try:
        found = results(tree)
    finally:
        file.write_text(right)

    assert found == {name: "FAILED" if name in guards else "PASSED" for name in GUARDS}
