"""`manage.py newhandler NAME`: a handler and its test, to start from."""

import re
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from jobs import registry

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+\Z")

HANDLER = '''"""Handlers of {noun}."""

from pydantic import BaseModel, Field

from jobs import Done, Retry, Run, exponential, handler


class {model}(BaseModel):
    """What a job of {kind} needs."""

    name: str = Field(min_length=1, max_length=200)


@handler(
    "{kind}",
    payload={model},
    retry=Retry(max_attempts=3, backoff=exponential(5, factor=2, cap=300)),
    timeout=60,
    example={{"name": "world"}},
)
def {function}(job: Run[{model}]) -> Done:
    """Say what a job of this kind does, in one line."""
    job.log("started", name=job.payload.name)
    greeting = job.step("greet", lambda: f"Hello, {{job.payload.name}}!")
    return Done({{"greeting": greeting}})
'''

TEST = '''"""Tests of {kind}: the handler itself, without database and without workers."""

from uuid import uuid4

import pytest
from pydantic import ValidationError

from jobs.testing import run_once
from {module} import {model}, {function}


def test_it_greets() -> None:
    done = run_once({function}, {{"name": "Ada"}}, project_id=uuid4())

    assert done.output == {{"greeting": "Hello, Ada!"}}


def test_an_empty_name_does_not_fit() -> None:
    with pytest.raises(ValidationError):
        {model}.model_validate({{"name": ""}})
'''


class Command(BaseCommand):
    """Write a handler module and its test."""

    requires_system_checks = []
    help = "Write a handler for the kind NAME (noun.verb), and a test of it, into a directory (default: here)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """NAME and --into."""
        parser.add_argument("name", metavar="NAME", help="the kind: noun.verb in lower case, as in report.send")
        parser.add_argument("--into", default=".", help="directory of the new files (default: the current one)")

    def handle(self, *_args: Any, name: str, into: str, **_options: Any) -> None:
        """Write both files; never overwrite one."""
        if not _NAME.match(name):
            message = f"{name!r} is no name of a kind: wanted is noun.verb in lower case, as in report.send."
            raise CommandError(message)
        if registry.find(name) is not None:
            message = f"The kind {name!r} is registered already."
            raise CommandError(message)
        flat = name.replace(".", "_")
        module = f"{flat}_handlers"
        words = {
            "kind": name,
            "noun": name.split(".", maxsplit=1)[0],
            "function": flat,
            "model": "".join(part.title() for part in flat.split("_")),
            "module": module,
        }
        folder = Path(into)
        files = {folder / f"{module}.py": HANDLER, folder / f"test_{module}.py": TEST}
        for path in files:
            if path.exists():
                message = f"{path} exists already."
                raise CommandError(message)
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            path.write_text(text.format(**words), encoding="utf-8")
            self.stdout.write(f"wrote {path}")
        self.stdout.write(
            f"\nRun its test:     make test ONLY={folder}\n"
            f"Run it for real:  PYTHONPATH={into} JOBPLATFORM_HANDLERS={module} make up"
        )
