"""What can go wrong with messages. Each class has a stable `code`; its docstring's first line is its sentence."""

from uuid import UUID


class IngestionError(Exception):
    """Something about messages was refused."""

    code = "ingestion_error"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").splitlines()[0])


class MessageNotFound(IngestionError):
    """There is no such message, or it is not yours."""

    code = "message_not_found"


class MessageConflict(IngestionError):
    """A message with this message_id was received before, with another body."""

    code = "message_conflict"

    def __init__(self, message_id: UUID) -> None:
        super().__init__(f"The message {message_id} was received before, with another body.")


class CompanyOfAnotherProject(IngestionError):
    """Another project uses this company_id, and with it the keys in object storage. Nothing was kept."""

    code = "company_of_another_project"


class NotStored(IngestionError):
    """The original is not in object storage yet."""

    code = "original_not_stored"


# ------------------------------------------------------------------------------------------------ while processing
class PermanentError(IngestionError):
    """A known error that no retry can cure: it is written on the message, and its job is rejected."""

    code = "permanent_error"


class BodyCorrupt(PermanentError):
    """The kept body is no longer the one that was received: its SHA-256 differs."""

    code = "body_corrupt"


class ObjectConflict(PermanentError):
    """Object storage holds other content under the message's key."""

    code = "object_conflict"

    def __init__(self, key: str) -> None:
        super().__init__(f"Object storage holds other content under {key}; it was left as it is.")


# ------------------------------------------------------------------------------------------------ object storage
class ObjectMissing(IngestionError):
    """There is no object under this key."""

    code = "object_missing"


class StorageUnavailable(IngestionError):
    """Object storage did not do what it was asked. The same may work later."""

    code = "storage_unavailable"
