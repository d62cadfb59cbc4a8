"""manage.py export_audit: a chain of the audit record in a file that whoever has the key can verify offline."""

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from events import verification
from events.errors import HeadsUnavailable
from events.management.commands.verify_audit import chain_of


class Command(BaseCommand):
    help = "Write a chain of the audit record as JSON lines. docs/verify_audit.py verifies them, given AUDIT_KEY."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--project", required=True, help="the id of a project, or `platform`")
        parser.add_argument("--out", required=True, help="the file; one that is there is replaced")

    def handle(self, **options: Any) -> None:
        """Write the file."""
        chain, lines = chain_of(options["project"]), 0
        with Path(options["out"]).open("w", encoding="utf-8") as file:
            for facts in _facts(chain):
                file.write(json.dumps(facts, ensure_ascii=False, separators=(",", ":")) + "\n")
                lines += facts["form"] == verification.FORM_OF_RECORD
        if options["verbosity"]:
            self.stdout.write(f"{lines} records of {verification.name_of(chain).lower()}.")


def _facts(chain: str) -> Iterator[dict[str, object]]:
    try:
        yield from verification.exported(chain)
    except HeadsUnavailable as error:
        message = f"The stored heads cannot be read: {error}"
        raise CommandError(message) from None
