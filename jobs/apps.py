"""The engine: jobs, their states, and how they are run."""

import importlib

from django.apps import AppConfig
from django.conf import settings

from jobplatform import telemetry
from jobs import registry


class JobsConfig(AppConfig):
    name = "jobs"
    verbose_name = "Jobs"

    def ready(self) -> None:
        """Bind `.enqueue`, and load the engine's own handlers and those from outside the repository."""
        from jobs import canary, handlers, interventions, services, subscribers  # noqa: F401 - models are ready only now
        from jobs.errors import RegistrationError

        registry.bind(services.enqueue)
        telemetry.add_context(registry.context)
        interventions.register()
        canary.register()
        for module in settings.JOBPLATFORM_HANDLERS:
            try:
                importlib.import_module(module)
            except ModuleNotFoundError as missing:
                if missing.name != module:
                    raise
                message = f"JOBPLATFORM_HANDLERS names the module {module!r}, which is not on the path."
                raise RegistrationError(message) from None
