"""The rules that ship with the platform. People change the rows, or switch them off; one that is deleted comes back."""

from dataclasses import dataclass

from uuid_utils.compat import uuid7

from reconciliation.models import AlarmRule
from reconciliation.states import Severity


@dataclass(frozen=True, slots=True)
class Shipped:
    """One rule. Times in seconds; `advice`: what to do, for whoever is told."""

    name: str
    measure: str
    threshold: float
    clears_at: float
    lasts: float
    calm: float
    severity: Severity
    advice: str


_LOOK = "Dead letters, in the admin: by cause, with the way to queue them once more."

RULES = (
    Shipped("Dead letters", "dead_letters", 100, 50, 60, 120, Severity.WARN, _LOOK),
    Shipped("Many dead letters", "dead_letters", 1000, 500, 60, 120, Severity.PAGE, _LOOK),
    Shipped("Old dead letters", "dead_letter_age", 3 * 86_400, 2 * 86_400, 600, 600, Severity.WARN, _LOOK),
    Shipped(
        "Queue waits", "queue_age", 300, 60, 120, 120, Severity.WARN,
        "Workers, in the admin: does anybody serve the queue, and is it busy? Pauses and limits may hold it, too.",
    ),
    Shipped(
        "Attempts fail", "error_rate", 50, 25, 120, 300, Severity.WARN,
        "Dead letters and Attempts, in the admin: which error is it? Pause the kind while a provider is down.",
    ),
    Shipped(
        "Lane blocked", "lane_age", 900, 900, 0, 0, Severity.WARN,
        "Interventions, in the admin: the first job of a lane waits for a decision, and all behind it for that job.",
    ),
    Shipped(
        "Decision overdue", "decision_age", 86_400, 86_400, 0, 0, Severity.WARN,
        "Interventions, in the admin: something has waited for a person for a day.",
    ),
    Shipped(
        "Chain read too slowly", "capture_lag", 200, 20, 300, 120, Severity.WARN,
        "Contracts, in the admin: what does the node say, and is a worker of the queue capture alive?",
    ),
    Shipped(
        "Nodes silent", "node_silence", 300, 60, 60, 60, Severity.PAGE,
        "No node of the network answers: see RPC_URL, and the provider's own page.",
    ),
    Shipped(
        "Funds low", "funds", 0.05, 0.1, 0, 0, Severity.PAGE,
        "Send ether to the signer. Confirmations wait meanwhile, and go on by themselves.",
    ),
    Shipped(
        "No worker", "worker_slots", 1, 1, 60, 30, Severity.PAGE,
        "Start workers of this queue. Jobs wait meanwhile, none is lost.",
    ),
    Shipped(
        "Relay silent", "relay_silence", 30, 10, 30, 30, Severity.PAGE,
        "Start a relay: without one nothing new begins.",
    ),
    Shipped(
        "Stands between two states", "findings", 0, 0, 300, 60, Severity.WARN,
        "Findings, in the admin: what was found could not be put right by itself.",
    ),
    Shipped(
        "Errors in the log", "errors_logged", 20, 5, 120, 300, Severity.WARN,
        "Search the logs of all processes for the level error.",
    ),
)  # fmt: skip


def ensure_rules() -> int:
    """Make the rows of shipped rules that are not there. Returns how many."""
    there = set(AlarmRule.objects.filter(name__in=[rule.name for rule in RULES]).values_list("name", flat=True))
    missing = [
        AlarmRule(
            id=uuid7(), name=rule.name, measure=rule.measure, threshold=rule.threshold, clears_at=rule.clears_at,
            lasts_seconds=rule.lasts, calm_seconds=rule.calm, severity=rule.severity, advice=rule.advice,
        )
        for rule in RULES
        if rule.name not in there
    ]  # fmt: skip
    return len(AlarmRule.objects.bulk_create(missing, ignore_conflicts=True))
