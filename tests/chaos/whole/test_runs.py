"""The whole platform under fire, for a bounded time; the long forms are commands (docs/reliability.md).

T66: anything is killed, frozen, cut or emptied. T68: connections break again and again, and no process grows; the version
before is upgraded to this one under load, its migrations killed half way. Each run is the command that a person would
type, and its exit code is the checker's.
"""

import subprocess
import sys

import pytest

from tests.processes import ROOT

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


def clear(environment: dict[str, str], *arguments: str) -> None:
    """The run ends with the checker's all-clear."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.chaos", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-12000:]}\n{done.stderr[-4000:]}"
    assert "All clear." in done.stdout


SHORT = ("--pace", "4", "--least", "3", "--most", "8")


def test_chaos_of_forty_seconds(clean_environment: dict[str, str]) -> None:
    clear(clean_environment, "chaos", "--seed", "11", "--minutes", "0.67", *SHORT)


@pytest.mark.long  # what half a minute shows of it, the chaos shows too
def test_a_soak_of_half_a_minute(clean_environment: dict[str, str]) -> None:
    clear(clean_environment, "soak", "--seed", "12", "--minutes", "0.5", *SHORT)


def test_an_upgrade_under_load(clean_environment: dict[str, str]) -> None:
    clear(clean_environment, "upgrade", "--seed", "13", "--minutes", "0.75", *SHORT)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(1, 6))
def test_chaos_of_ten_minutes(clean_environment: dict[str, str], seed: int) -> None:
    clear(clean_environment, "chaos", "--seed", str(seed), "--minutes", "10")


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_soak_of_twenty_minutes(clean_environment: dict[str, str]) -> None:
    clear(clean_environment, "soak", "--seed", "1", "--minutes", "20")


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(1, 6))
def test_upgrades_of_three_minutes(clean_environment: dict[str, str], seed: int) -> None:
    clear(clean_environment, "upgrade", "--seed", str(seed), "--minutes", "3")
