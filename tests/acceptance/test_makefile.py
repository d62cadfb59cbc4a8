"""The commands of the Makefile where they do more than call a program."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jobplatform import places, processes
from jobplatform.embedded import Embedded
from tests.often import often

ROOT = Path(__file__).resolve().parents[2]
VENV = Path(sys.executable).parent.parent

pytestmark = pytest.mark.timeout(300)


def make(*arguments: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }  # of `make test`
    return subprocess.run(["make", *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the Makefile and an installation that needs no network: every lock file is empty."""
    directory = tmp_path / "checkout"
    (directory / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", directory)
    shutil.copy(ROOT / "requirements" / "install.py", directory / "requirements")
    for name in ("uv", "base", "dev"):
        (directory / "requirements" / f"{name}.txt").write_text("")
    return directory


@contextlib.contextmanager
def up(data_dir: Path, env: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """`make up` in a session of its own, as in a terminal; ready when the block begins."""
    command = ["make", "up", f"DATA={data_dir}", "PORT=0", f"VENV={VENV}"]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        ready = data_dir / "run.json"
        assert processes.wait_until(lambda: ready.exists() or process.poll() is not None, seconds=120)
        assert ready.exists()
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)


def alive(family: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("how", often(["ctrl_c"], ["ctrl_c", "kill", "terminate"]))
def test_the_end_of_make_up_is_the_end_of_everything(
    tmp_path: Path, clean_environment: dict[str, str], how: str
) -> None:
    with up(tmp_path / "data", clean_environment) as process:
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) > 8
        if how == "ctrl_c":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGTERM if how == "terminate" else signal.SIGKILL)
        process.wait(60)

        assert processes.wait_until(lambda: not alive(family), seconds=60)
    Embedded(tmp_path / "data").destroy()


def test_an_old_interpreter_is_refused_in_one_sentence(checkout: Path, tmp_path: Path) -> None:
    pretend = (
        "import runpy, sys; sys.version_info = (3, 9, 1); "
        "del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    old = tmp_path / "python-of-old"
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{pretend}" "$@"\n')
    old.chmod(0o755)
    done = make("base", f"PYTHON={old}", cwd=checkout)

    assert done.returncode != 0
    assert "3.11 to 3.14" in done.stderr


def test_a_machine_without_python_is_told_what_to_install(checkout: Path) -> None:
    done = make("base", "PYTHON=", cwd=checkout)

    assert done.returncode != 0
    assert "Install python3 and python3-venv" in done.stderr


def test_an_environment_that_cannot_be_written_is_explained(checkout: Path) -> None:
    done = make("base", "VENV=/proc/self/venv", cwd=checkout)

    assert done.returncode != 0
    assert "make your own clone" in done.stderr


@pytest.fixture
def venv(checkout: Path, tmp_path: Path) -> Path:
    """What the checkout takes for an environment in which everything is installed."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    stamp = "from requirements import install; print(install.digest('dev'), end='')"
    done = subprocess.run([sys.executable, "-c", stamp], cwd=checkout, capture_output=True, text=True, check=True)
    (venv / ".installed").write_text(done.stdout)
    return venv


def test_an_installation_that_is_current_is_left_alone(checkout: Path, venv: Path) -> None:
    for level in ("dev", "base"):
        done = make(level, f"VENV={venv}", f"PYTHON={sys.executable}", cwd=checkout)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(entry.name for entry in venv.iterdir()) == [".installed", "bin"]


NPM = """#!/bin/sh
echo called >> "$CALLS"
mkdir -p node_modules/@foundry-rs/{package}/bin
echo program > node_modules/@foundry-rs/{package}/bin/anvil
echo '{{"packages": {{"node_modules/@foundry-rs/{package}": {{}}}}}}' > node_modules/.package-lock.json
{end}
"""


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where to write the program that is found as npm."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(programs / "calls"))
    return programs / "npm"


@pytest.mark.parametrize(
    "case",  # the package that npm brings, how npm ends, and what the installation says
    [
        ("anvil-linux-amd64", "exit 0", "Installed in"),
        ("anvil-of-nobody", "exit 0", "package-lock.json has no hash of @foundry-rs/anvil-of-nobody"),
        ("anvil-linux-amd64", "echo 'npm error code E1' >&2; echo 'npm error no network' >&2; exit 1", "no network"),
    ],
)
def test_the_chain_is_installed_once_or_found_missing_in_one_line(
    checkout: Path, venv: Path, npm: Path, case: tuple[str, str, str]
) -> None:
    package, end, said = case
    for name in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / name, checkout)
    npm.write_text(NPM.format(package=package, end=end))
    npm.chmod(0o755)

    for _ in range(2):
        done = make("base", f"VENV={venv}", f"PYTHON={sys.executable}", cwd=checkout)
        assert done.returncode == 0
        if said:
            assert said in done.stderr.splitlines()[1]
            assert len(done.stderr.splitlines()) == 2
        else:
            assert done.stderr == ""
        said = ""  # a second time nothing is tried or said
    assert npm.with_name("calls").read_text() == "called\n"
    assert (venv / "node" / "node_modules").exists() == (package == "anvil-linux-amd64" and end == "exit 0")
    assert not (venv / "node.new").exists()
    assert sorted(entry.name for entry in checkout.iterdir()) == [
        "Makefile", "package-lock.json", "package.json", "requirements",
    ]  # fmt: skip


def test_the_lock_of_the_chain_pins_it_by_hash_and_names_no_host() -> None:
    text = (ROOT / "package-lock.json").read_text()
    packages = json.loads(text)["packages"]

    assert json.loads((ROOT / "package.json").read_text())["dependencies"] == {"@foundry-rs/anvil": "1.7.1"}
    assert {entry["version"] for name, entry in packages.items() if name} == {"1.7.1"}
    for name in ("anvil", "anvil-linux-amd64"):
        assert packages[f"node_modules/@foundry-rs/{name}"]["integrity"].startswith("sha512-")
    assert "://" not in text + (ROOT / ".npmrc").read_text()


def test_every_target_is_explained() -> None:
    said = make("help").stdout

    for target in ("demo", "up", "test", "test-long", "bench", "lint", "audit", "sbom", "lock", "clean", "clean-data"):
        assert target in said


def test_the_bill_of_materials_names_every_locked_package_and_what_the_wheels_bring(tmp_path: Path) -> None:
    """The commands of `make sbom`, without its set-up."""
    bill = tmp_path / "sbom.json"
    command = ["-m", "cyclonedx_py", "requirements", "requirements/base.txt", "--output-reproducible", "-o", str(bill)]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
    said = subprocess.run(
        [sys.executable, "-m", "jobplatform.embedded", "--versions"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    locked = set(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "requirements" / "base.txt").read_text(), re.MULTILINE))

    assert " ".join(command[:-1]) in (ROOT / "Makefile").read_text()
    assert len(locked) > 20
    assert {(each["name"], each["version"]) for each in json.loads(bill.read_text())["components"]} == locked
    assert re.search(r"PostgreSQL\) \d+\.\d+", said)
    assert places.anvil_program() is None or re.search(r"^anvil 1\.\d+\.\d+", said, re.MULTILINE)
    assert re.search(r"Redis server v=\d+\.\d+\.\d+", said)
