"""Confirmations: what a job did is settled on chain, exactly once."""

from django.apps import AppConfig


class ConfirmationsConfig(AppConfig):
    name = "confirmations"
    verbose_name = "Confirmations"

    def ready(self) -> None:
        """Register the handlers and the consumer, and, where a chain is set up, the stage of jobs that go on it."""
        from django.conf import settings

        from confirmations import subscribers  # noqa: F401 - it registers what it defines
        from confirmations.handlers import capture, chores, send, verify  # noqa: F401 - they register what they define
        from confirmations.selectors import why
        from confirmations.services import deciding
        from jobs import extensions
        from jobs.states import Stage

        deciding.register()
        if settings.RPC_URLS:
            extensions.stages.register(Stage.CONFIRM, why)
