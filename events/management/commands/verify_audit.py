"""manage.py verify_audit: is the audit record as it was sealed? A sentence for all that is not, and exit code 1."""

import datetime as dt
import sys
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from events import verification
from events.errors import HeadsUnavailable
from events.sealing import PLATFORM


def chain_of(text: str) -> str:
    """The chain that an option names. Raises CommandError."""
    if text == PLATFORM:
        return text
    try:
        return str(UUID(text))
    except ValueError:
        message = f"--project is the id of a project, or `platform`; {text!r} is neither."
        raise CommandError(message) from None


class Command(BaseCommand):
    help = "Verify the chains of the audit record against their seals and against the heads in object storage."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--project", default="", help="one chain: the id of a project, or `platform`; default: all")
        parser.add_argument(
            "--since", type=dt.datetime.fromisoformat, help="compare with heads of this time (UTC) and later only"
        )

    def handle(self, **options: Any) -> None:
        """Say what was found; exits with 1 if that is anything."""
        since: dt.datetime | None = options.get("since")
        if since is not None and since.tzinfo is None:
            since = since.replace(tzinfo=dt.UTC)
        chain = chain_of(options["project"]) if options.get("project") else None
        try:
            report = verification.verify(chain, since=since)
        except HeadsUnavailable as error:
            message = f"The stored heads cannot be read: {error}"
            raise CommandError(message) from None
        for finding in report.findings:
            self.stdout.write(f"{finding.sort}: {finding.text}")
        if report.findings:
            sys.exit(1)
        self.stdout.write(
            f"{report.records} records of {len(report.verdicts)} chains are as they were sealed;"
            f" compared with {report.objects} stored heads."
        )
