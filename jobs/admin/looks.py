"""How the engine's words look: a tone, and a sign that says the same without colour."""

from django.utils.safestring import SafeString

from jobplatform.backoffice.markup import Look, badge
from jobs.states import Status

STATUS: dict[str, Look] = {
    Status.QUEUED: Look("wait", "schedule"),
    Status.PROCESSING: Look("run", "play_circle"),
    Status.PARKED: Look("wait", "pause_circle"),
    Status.PENDING_APPROVAL: Look("ask", "approval"),
    Status.CONFIRMING: Look("run", "link"),
    Status.BLOCKED: Look("ask", "back_hand"),
    Status.PROCESSED: Look("good", "check_circle"),
    Status.CONFIRMED: Look("good", "verified"),
    Status.FAILED: Look("bad", "error"),
    Status.REJECTED: Look("bad", "block"),
    Status.CANCELLED: Look("off", "cancel"),
}

OUTCOME: dict[str, Look] = {
    "done": Look("good", "check_circle"),
    "retried": Look("ask", "replay"),
    "parked": Look("wait", "pause_circle"),
    "blocked": Look("ask", "back_hand"),
    "failed": Look("bad", "error"),
    "rejected": Look("bad", "block"),
    "cancelled": Look("off", "cancel"),
    "running": Look("run", "play_circle"),
}

OTHER = Look("off", "help")


def status(word: str) -> SafeString:
    """The badge of a job's status."""
    return badge(word, STATUS.get(word, OTHER))


def outcome(word: str) -> SafeString:
    """The badge of an attempt's outcome."""
    return badge(word, OUTCOME.get(word, OTHER))
