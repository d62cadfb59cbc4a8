"""The import contracts hold, and each of them bites: a violation planted in a copy of the tree breaks it alone."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / ".importlinter"


PREFIX = "importlinter:contract:"


def config() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(CONFIG, encoding="utf-8")
    return parser


def contracts() -> dict[str, str]:
    """Id and name of each contract in `.importlinter`."""
    return {s.removeprefix(PREFIX): section["name"] for s, section in config().items() if s.startswith(PREFIX)}


def packages() -> list[str]:
    """The packages under contract."""
    return config()["importlinter"]["root_packages"].split()


@dataclass(frozen=True)
class Plant:
    """One line of code that must not stand in that file. A room that is not there yet is made."""

    contract: str
    file: str
    line: str
    why: str


PLANTS = [
    Plant("floors", "events/errors.py", "import jobs.states", "events lies below jobs"),
    Plant("floors", "jobs/states.py", "import projects.errors", "the engine knows no domain"),
    Plant("floors", "ingestion/errors.py", "import projects.errors", "neighbours meet through events"),
    Plant("floors", "events/errors.py", "import egress", "neighbours, one floor further down"),
    Plant("floors", "jobplatform/telemetry.py", "import events.errors", "the ground knows no app"),
    Plant("roof", "ingestion/errors.py", "import jobplatform.launch", "nobody imports the roof"),
    Plant("under-the-roof", "jobplatform/processes.py", "import jobplatform.supervisor", "a tool under its user"),
    Plant("under-the-roof", "jobplatform/drawer.py", "", "a module that has no place"),
    Plant("rooms", "ingestion/services.py", "import ingestion.gateway", "no network call inside a transaction"),
    Plant("rooms", "ingestion/gateway.py", "import ingestion.services", "nor the other way round"),
    Plant("rooms", "ingestion/drawer.py", "", "a module that has no place"),
    Plant("rooms-of-projects", "projects/models.py", "import projects.views", "inwards only"),
    Plant(
        "rooms-of-projects", "projects/services.py", "import projects.gateway", "no network call inside a transaction"
    ),
    Plant("rooms-of-projects", "projects/drawer.py", "", "a module that has no place"),
    Plant(
        "rooms-of-confirmations",
        "confirmations/services.py",
        "import confirmations.gateway",
        "no network call inside a transaction",
    ),
    Plant("rooms-of-confirmations", "confirmations/merkle.py", "import confirmations.gateway", "inwards only"),
    Plant("rooms-of-confirmations", "confirmations/drawer.py", "", "a module that has no place"),
    Plant("rooms-of-reconciliation", "reconciliation/models.py", "import reconciliation.services", "inwards only"),
    Plant("rooms-of-reconciliation", "reconciliation/drawer.py", "", "a module that has no place"),
    Plant("rooms-of-events", "events/models.py", "import events.log", "inwards only"),
    Plant("rooms-of-events", "events/drawer.py", "", "a module that has no place"),
    Plant("rooms-of-jobs", "jobs/states.py", "import jobs.errors", "states and errors are the innermost"),
    Plant("rooms-of-jobs", "jobs/store.py", "import jobs.runner", "the store does not know who calls it"),
    Plant("rooms-of-jobs", "jobs/drawer.py", "", "a module that has no place"),
    Plant("public-face", "jobs/policy.py", "import django.db", "a policy is a value"),
    Plant("broker", "ingestion/services.py", "import redis", "the API path never touches Redis"),
    Plant("broker", "jobs/views/jobs.py", "import celery", "only the relay rings"),
]


def copy_tree(target: Path) -> Path:
    """Copy the Python files under contract, and the contracts."""
    for package in packages():
        for source in (ROOT / package).rglob("*.py"):
            copied = target / source.relative_to(ROOT)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copied)
    shutil.copyfile(CONFIG, target / CONFIG.name)
    return target


def broken_in(tree: Path) -> set[str]:
    """Run lint-imports in `tree` and return the ids of the contracts that it found broken."""
    program = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    ran = subprocess.run(
        [sys.executable, "-c", program, "--no-logo", "--no-cache"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    names = contracts()
    verdicts = dict(re.findall(r"^(.+) (KEPT|BROKEN)", ran.stdout, re.MULTILINE))
    missing = [key for key, name in names.items() if name not in verdicts]
    assert not missing, f"no verdict on {missing}:\n{ran.stdout}{ran.stderr}"
    broken = {key for key, name in names.items() if verdicts[name] == "BROKEN"}
    assert (ran.returncode == 0) == (not broken), ran.stdout
    return broken


def test_every_app_has_its_rooms() -> None:
    with_rooms = [name for key in contracts() for name in config()[PREFIX + key].get("containers", "").split()]

    # egress is one module so far; benchmarks are scripts.
    assert sorted(with_rooms) == sorted(set(packages()) - {"benchmarks", "egress"})


def test_what_is_under_the_roof_is_the_roof_or_the_ground() -> None:
    inside = set(re.findall(r"\((\w+)\)", config()[f"{PREFIX}under-the-roof"]["layers"]))
    roof = set(re.findall(r"\(jobplatform\.(\w+)\)", config()[f"{PREFIX}roof"]["layers"].strip().splitlines()[0]))

    assert inside - roof == {"api", "backoffice", "broker", "indexes", "spans", "telemetry", "tracing"}
    assert roof <= inside


@pytest.fixture(scope="module")
def already_broken(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What is broken without any plant: nothing, but if it were, one test should say so and not all of them."""
    return broken_in(copy_tree(tmp_path_factory.mktemp("tree")))


def test_every_package_is_under_contract() -> None:
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}

    assert found == set(packages())


def test_the_tree_keeps_its_contracts(already_broken: set[str]) -> None:
    assert already_broken == set()


def test_each_contract_has_a_planted_violation() -> None:
    assert {plant.contract for plant in PLANTS} == set(contracts())


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: f"{plant.contract}: {plant.why}")
def test_a_planted_violation_breaks_its_contract_alone(plant: Plant, already_broken: set[str], tmp_path: Path) -> None:
    tree = copy_tree(tmp_path)
    file = tree / plant.file
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text(f"{before}\n{plant.line}\n", encoding="utf-8")
    imported = tree / (plant.line.removeprefix("import ").replace(".", "/") or "nothing")
    if imported.parts[-2] in packages() and not imported.is_dir():
        imported.with_suffix(".py").touch()

    assert broken_in(tree) == already_broken | {plant.contract}
