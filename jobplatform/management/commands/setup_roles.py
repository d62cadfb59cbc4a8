"""Makes the roles of the database and their rights, or brings them up to date. Run it after migrate, as the owner."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from jobplatform import roles


class Command(BaseCommand):
    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            done = roles.set_up()
        except roles.RolesRefused as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{', '.join(roles.names())}: {done} statements")
