"""Reconciliation: failed work comes back under control, and a person can repair anything."""

from django.apps import AppConfig


class ReconciliationConfig(AppConfig):
    name = "reconciliation"
    verbose_name = "Reconciliation"

    def ready(self) -> None:
        """Register the kinds, the counter and the invariants."""
        from reconciliation import handlers, invariants, subscribers  # noqa: F401 - they register what they define
        from reconciliation.services import alarms

        invariants.register()
        alarms.register()
