"""The roof as a Django app: system checks and the commands that start processes."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.contrib import admin
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core import checks


class AdminConfig(SimpleAdminConfig):
    """Django's admin, whose pages are loaded with the routes: a worker, a relay or a beat starts without them."""

    def ready(self) -> None:
        """Register the checks of the pages, which load them."""
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(check_pages, checks.Tags.admin)


def check_pages(app_configs: Sequence[AppConfig] | None, **options: Any) -> Sequence[checks.CheckMessage]:
    """Whether the pages fit the models. Returns what Django's own check finds."""
    admin.autodiscover()
    return check_admin_app(app_configs, **options)


class PlatformConfig(AppConfig):
    default = True
    name = "jobplatform"
    verbose_name = "Platform"

    def ready(self) -> None:
        """Register the system checks."""
        from jobplatform import checks  # noqa: F401 - registers what it defines
