"""Creates the groups `viewers` and `operators`, or brings their permissions up to date. Run it after migrate."""

from typing import Any

from django.core.management.base import BaseCommand

from jobplatform.admin.people import set_up_groups


class Command(BaseCommand):
    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        for name, number in set_up_groups().items():
            self.stdout.write(f"{name}: {number} permissions")
