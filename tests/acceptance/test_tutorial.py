"""The tutorial is executed as it is written: its commands, in its order."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVERS = {"DATABASE_URL", "BROKER_URL", "STORAGE_URL", "JOBPLATFORM_PROFILE", "SECRET_KEY", "VIRTUAL_CLOCK"}

pytestmark = pytest.mark.timeout(300)


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "build", "__pycache__"))
    text = (tree / "docs" / "tutorial.md").read_text()
    write, test, run, ask, wait = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    (shown,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in SERVERS and not name.startswith(("MAKE", "PYTEST_"))
    }
    env |= {"VENV": str(Path(sys.executable).parent.parent)}

    def shell(commands: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", commands], cwd=tree, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    shell(write)
    written = (tree / "reports" / "report_send_handlers.py").read_text()
    assert all(line in written for line in shown.splitlines() if line.strip() and not line.startswith("def "))
    assert "2 passed" in shell(test)

    platform = subprocess.Popen(["bash", "-euc", f"exec env {run.strip()}"], cwd=tree, env=env, start_new_session=True)
    try:
        ends = time.monotonic() + 120
        while not (tree / ".data" / "tutorial" / "run.json").exists():
            assert platform.poll() is None, "make up ended"
            assert time.monotonic() < ends, "make up did not become ready"
            time.sleep(0.1)
        job = json.loads(shell(ask))
        ended = json.loads(shell(ask.split("\n\n", maxsplit=1)[0] + "\n" + wait.replace("JOB_ID", job["id"])))
        assert (ended["status"], ended["output"]) == ("processed", {"greeting": "Hello, Ada!"})
    finally:
        os.killpg(platform.pid, signal.SIGINT)
        platform.wait(60)
