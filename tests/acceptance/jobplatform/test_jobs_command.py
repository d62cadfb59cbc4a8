"""`manage.py jobs` as it is typed: in a pipe, on a terminal, interrupted."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from tests.databases import Cluster
from tests.integration.projects.conftest import make_tenant
from tests.processes import ROOT, Platform

pytestmark = pytest.mark.timeout(300)


class Shell:
    """Types the command on a platform that works."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.env = platform._environment("cli", {"TERM": "xterm-256color", "COLUMNS": "150"}, None)

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        command = [sys.executable, "manage.py", "jobs", *arguments]
        return subprocess.Popen(command, cwd=ROOT, env=self.env, text=True, **options)

    def run(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        """Exit code, output, errors."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = self.start(*arguments, **pipes)
        out, errors = process.communicate(stdin, timeout=100)
        return process.returncode, out, errors

    def on_terminal(self, *arguments: str) -> tuple[int, str]:
        """Exit code, and all that a terminal was sent."""
        ours, theirs = pty.openpty()
        process = self.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other side was closed
                break
            if not part:
                break
            shown += part
        os.close(ours)
        return process.wait(60), shown.decode()


@pytest.fixture(scope="module")
def shell(cluster: Cluster, django_db_blocker: DjangoDbBlocker) -> Iterator[Shell]:
    with django_db_blocker.unblock(), Platform(cluster, os.environ["BROKER_URL"]) as platform:
        make_tenant("Only")
        platform.relay()
        platform.worker()
        yield Shell(platform)


def test_a_job_is_handed_in_and_waited_for_in_a_script(shell: Shell) -> None:
    code, out, errors = shell.run("submit", "test.steps", "-", "--wait", "--json", stdin='{"n": 1}')

    seen = [json.loads(line) for line in out.splitlines()]
    assert (code, errors, seen[-1]["status"]) == (0, "", "processed")
    assert seen[-1]["progress"] == {"done": 1, "total": 2, "note": "half of it"}
    assert shell.run("submit", "test.reject", "--wait")[0] == 1
    code, out, errors = shell.run("submit", "no.such")
    assert (code, out) == (1, "")
    assert errors.startswith("CommandError: unknown_kind")
    assert shell.run("list", "--status", "nowhere")[0] == 2


def test_a_terminal_is_shown_bars_and_a_pipe_is_not(shell: Shell) -> None:
    code, shown = shell.on_terminal("submit", "test.done", "--wait")
    assert code == 0
    assert "100%" in shown
    assert "processed" in shown
    assert "\x1b[" in shown

    code, shown = shell.on_terminal("submit", "test.block", "--wait")
    assert (code, "blocked" in shown, "Traceback" in shown) == (1, True, False)
    ended = [json.loads(line)["id"] for line in shell.run("list", "--json")[1].splitlines()]
    for arguments in (("list",), ("show", ended[0]), ("watch", *ended), ("tail", "--after", "0", "--count", "3")):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shell.run(*arguments)[1])


def test_the_tail_follows_until_it_is_interrupted(shell: Shell) -> None:
    tail = shell.start("tail", "--type", "job.p", "--after", "0", "--json", stdout=subprocess.PIPE)
    assert tail.stdout
    shell.run("submit", "test.done", "--wait")
    last = shell.platform.rows("select id from jobs_job order by id desc limit 1")[0]["id"]
    for line in tail.stdout:
        event = json.loads(line)
        assert event["type"].startswith("job.p")
        if event["subject_id"] == str(last):
            break
    tail.send_signal(signal.SIGINT)

    assert tail.wait(30) == 130
    tail.stdout.close()


def test_a_reader_that_has_enough_is_no_trouble(shell: Shell) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = shell.start("list", "--json", stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    _, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (141, "")
