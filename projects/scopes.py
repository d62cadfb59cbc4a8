"""What an API key may do: the one table of scopes, `<noun>:<read|write>`. A view names the one that a method needs."""

from collections.abc import Iterable

from projects.errors import UnknownScope

SCOPES = {
    "jobs:read": "See jobs, their events and attempts, and the kinds.",
    "jobs:write": "Create, cancel, retry and pause jobs.",
    "interventions:read": "See what waits for a person's decision, and what was decided.",
    "interventions:write": "Decide what waits for a person: retry, skip, supply a result.",
    "reconciliation:read": "See dead letters by cause, and reconciliations.",
    "reconciliation:write": "Plan, start, pause and abort reconciliations.",
    "alarms:read": "See the alarms about the project.",
    "alarms:write": "Silence alarms about the project.",
    "platform:read": "See the alarms about the whole platform.",
    "platform:write": "Silence alarms about the whole platform.",
    "schedules:read": "See the schedules of the project, and when they are due.",
    "schedules:write": "Create, delete, pause, resume, run and backfill schedules.",
    "messages:read": "See messages and download their originals.",
    "messages:write": "Hand in messages.",
    "events:read": "Read the log of events.",
    "events:write": "Report events that jobs may wait for.",
    "projects:read": "See the project.",
    "projects:write": "Create further projects, each with a first key of its own.",
    "confirmations:read": "See how results stand on chain, and their proofs.",
    "signers:read": "See the platform's signers, their nonces and balances.",
    "signers:write": "Pause and resume the platform's signers.",
    "keys:read": "See the API keys of the project, without their secrets.",
    "keys:write": "Issue and revoke API keys of the project.",
}

ALL = frozenset(SCOPES)
OPERATORS = frozenset({"projects:write", "signers:read", "signers:write", "platform:read", "platform:write"})
"""About more than the key's own project: no key gets them just because it is a new project's first one."""
READING = frozenset(scope for scope in SCOPES if scope.endswith(":read"))


def known(scopes: Iterable[str]) -> list[str]:
    """The scopes in order and each once. Raises `UnknownScope`."""
    asked = sorted(set(scopes))
    for scope in asked:
        if scope not in ALL:
            raise UnknownScope(scope=scope)
    return asked
