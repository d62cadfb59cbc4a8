"""What handlers leave behind is added up over all processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import recorder

ROOT = Path(__file__).parents[3]


def in_process(directory: Path, code: str) -> None:
    env = {"PATH": os.environ["PATH"], recorder.DIRECTORY: str(directory)}
    subprocess.run([sys.executable, "-c", f"from benchmarks import recorder\n{code}"], env=env, cwd=ROOT, check=True)


def test_the_jobs_of_all_processes_are_added_up(tmp_path: Path) -> None:
    in_process(tmp_path, "for _ in range(3): recorder.tick()")
    in_process(tmp_path, "recorder.tick()")
    assert recorder.read_tally(tmp_path).jobs == 4


def test_time_runs_from_the_first_start_to_the_last_end(tmp_path: Path) -> None:
    for pid, (count, first, last) in enumerate([(2, 1_000, 5_000), (1, 3_000, 2_000_001_000)]):
        (tmp_path / f"{pid}.tally").write_bytes(recorder._TALLY.pack(count, first, last))
    assert recorder.read_tally(tmp_path).seconds == 2.0


def test_a_process_that_ran_nothing_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "1.tally").write_bytes(bytes(recorder._TALLY.size))
    assert recorder.read_tally(tmp_path) == recorder.Tally(0, 0, 0)


def test_a_forked_child_has_a_tally_of_its_own(tmp_path: Path) -> None:
    in_process(tmp_path, "import os\nif os.fork() == 0: recorder.tick(); os._exit(0)\nos.wait(); recorder.tick()")
    assert len(list(tmp_path.glob("*.tally"))) == 2
    assert recorder.read_tally(tmp_path).jobs == 2


def test_waiting_for_jobs_that_do_not_come_says_how_many_did(tmp_path: Path) -> None:
    in_process(tmp_path, "recorder.tick()")
    with pytest.raises(TimeoutError, match="1 of 2 jobs"):
        recorder.wait_for_jobs(tmp_path, 2, within=0)


def test_a_picked_up_sample_has_the_moment_of_its_start(tmp_path: Path) -> None:
    samples = recorder.PickUps(tmp_path, 2)
    in_process(tmp_path, "recorder.picked(1)")
    assert samples.wait(1) > 0
    with pytest.raises(TimeoutError, match="sample 0"):
        samples.wait(0, within=0)
