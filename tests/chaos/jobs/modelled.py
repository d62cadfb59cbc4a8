"""What the engine must do with a job, told without a database: a model for random commands (test_model.py).

A job of the model has the fields of its row that the engine promises something about, and the events that it must have
appended. Nothing here reads the engine's tables or calls its verbs.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

MOST = 2  # attempts
AT_ONCE = 2  # of one account, where the kind has a limit
PLAIN, ORDERED, LIMITED, ONCE = "model.plain", "model.ordered", "model.limited", "model.once"
KINDS = (PLAIN, ORDERED, LIMITED, ONCE)
DEEDS = ("done", "done", "fail", "fail_once", "block", "reject", "park", "cancel")
ENDED = frozenset({"processed", "failed", "rejected", "cancelled"})
END_OF = {"done": "processed", "block": "blocked", "reject": "rejected", "cancel": "cancelled"}


@dataclass
class Modelled:
    """One job. `waits`: its time has not come; `order`: its place in its lane."""

    id: str
    kind: str
    account: str
    deed: str
    order: int
    status: str = "queued"
    attempt: int = 0
    claim_no: int = 0
    waits: bool = False
    stop_asked: bool = False
    has_parked: bool = False
    events: list[str] = field(default_factory=lambda: ["job.queued"])

    @property
    def row(self) -> tuple[str, int, int]:
        return self.status, self.attempt, self.claim_no

    # -- what may happen to it

    def claimed(self) -> None:
        assert self.status == "queued"
        self.status, self.attempt, self.claim_no = "processing", self.attempt + 1, self.claim_no + 1

    def ran(self) -> None:
        """Its handler has answered, and the answer was committed."""
        if self.deed == "park" and not self.has_parked and self.kind != ONCE:
            self.has_parked = True
            self.attempt -= 1
            self._moved("parked")
            self.waits = self.status == "parked"
        elif self.deed == "fail" or (self.deed == "fail_once" and self.attempt == 1):
            self._failed()
        else:
            self._moved(END_OF.get(self.deed, "processed"))

    def owner_died(self, *, had_started: bool) -> None:
        if not had_started:
            self.attempt -= 1
            self._moved("queued", "job.released")
        elif self.kind == ONCE:  # who wished it to stop cannot say what took effect
            self.status = "blocked"
            self.events.append("job.blocked")
        else:
            self._failed()

    def _failed(self) -> None:
        if self.attempt < (1 if self.kind == ONCE else MOST):
            self._moved("queued", "job.retrying")
            self.waits = self.status == "queued"
        else:
            self._moved("blocked" if self.kind == ORDERED else "failed")

    def _moved(self, status: str, event: str = "") -> None:
        """Out of `processing`: a stop that was asked for comes before whatever is not an end."""
        if self.stop_asked and status in {"queued", "parked", "blocked"}:
            status, event = "cancelled", ""
        self.status = status
        self.events.append(event or f"job.{status}")

    def cancelled(self) -> bool:
        """Somebody stops it. False: it has ended otherwise."""
        if self.status == "processing":
            self.stop_asked = True
        elif self.status in {"queued", "parked", "blocked"}:
            self.status, self.waits = "cancelled", False
            self.events.append("job.cancelled")
        return self.status in {"processing", "cancelled"}

    def retried(self, order: int) -> bool:
        """Somebody queues it once more, its attempts counted anew. False: there is nothing to retry."""
        if self.status == "blocked":
            return self.decided("retry")
        if self.status not in {"failed", "rejected", "cancelled"}:
            return False
        self.status, self.attempt, self.order, self.waits, self.stop_asked = "queued", 0, order, False, False
        self.events.append("job.redriven")
        return True

    def decided(self, action: str) -> bool:
        """Somebody decides about it. False: nobody was asked."""
        if self.status != "blocked":
            return False
        self.stop_asked = False
        self.status = {"skip": "cancelled", "supply": "processed"}.get(action, "queued")
        self.events.append({"skip": "job.cancelled", "supply": "job.processed"}.get(action, "job.resumed"))
        if action == "retry":
            self.attempt = 0
        return True

    def time_passed(self) -> None:
        self.waits = False
        if self.status == "parked":
            self.status = "queued"
            self.events.append("job.woken")


def eligible(jobs: Iterable[Modelled], kind: str) -> list[Modelled]:
    """Which jobs of a kind may be claimed now; those of a limit by account, as if each were the only one."""
    mine = [job for job in jobs if job.kind == kind]
    ready = [job for job in mine if job.status == "queued" and not job.waits]
    if kind == ORDERED:
        first: dict[str, Modelled] = {}
        for job in sorted(mine, key=lambda job: job.order):
            if job.status not in ENDED:
                first.setdefault(job.account, job)
        return [job for job in ready if first.get(job.account) is job]
    if kind == LIMITED:
        return [job for job in ready if room(mine, job.account) > 0]
    return ready


def room(jobs: Iterable[Modelled], account: str) -> int:
    """How many more of an account may run where the kind has a limit."""
    running = sum(job.kind == LIMITED and job.account == account and job.status == "processing" for job in jobs)
    return AT_ONCE - running
