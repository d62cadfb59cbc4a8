"""The roof as a Django app: system checks and the commands that start processes."""

from django.apps import AppConfig


class PlatformConfig(AppConfig):
    name = "jobplatform"
    verbose_name = "Platform"

    def ready(self) -> None:
        """Register the system checks."""
        from jobplatform import checks  # noqa: F401 - registers what it defines
