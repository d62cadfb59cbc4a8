"""Brings a database up to date, new or old: migrate, then the roles, then the groups. Run it as the owner."""

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = __doc__ or ""
    # Unchecked: some checks read tables that the first run has yet to make.
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", interactive=False, verbosity=options["verbosity"], stdout=self.stdout)
        try:
            call_command("setup_roles", stdout=self.stdout)
        except CommandError as error:
            if settings.MIGRATION_DATABASE_URL != settings.DATABASE_URL:
                raise
            self.stderr.write(f"{error} Until then everything runs as the owner.")  # which needs no rights from itself
        call_command("setup_groups", stdout=self.stdout)
