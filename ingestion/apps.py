"""Messages in: validated, kept as they came, stored byte for byte, once."""

from django.apps import AppConfig


class IngestionConfig(AppConfig):
    name = "ingestion"
    verbose_name = "Messages"

    def ready(self) -> None:
        """Register handlers, consumer, invariants and the storage; refuse to boot with a storage that cannot be."""
        from django.conf import settings

        from events import heads
        from ingestion import gateway, handlers, subscribers  # noqa: F401 - they register what they define
        from ingestion.selectors import PROCESSED_WITHOUT_OBJECT, WITHOUT_JOB
        from jobs import extensions
        from jobs.extensions import Invariant

        gateway.store_of(settings.STORAGE_URL)
        heads.keep_in(gateway)
        extensions.invariants.register(
            "message.without_job", Invariant("A message has a job, until that is tidied away.", WITHOUT_JOB)
        )
        extensions.invariants.register(
            "message.processed_without_object",
            Invariant("The job of a message is processed exactly when its object is stored.", PROCESSED_WITHOUT_OBJECT),
        )
