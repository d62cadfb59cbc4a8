"""Refused creations are told to the log as well (`job.refused`), bounded: whoever sends rubbish must not fill it."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import psycopg
import structlog
from uuid_utils.compat import uuid7

from jobs import store

logger = structlog.get_logger(__name__)

MOST_A_MINUTE = 10
"""Events a minute of one project and code; what is refused beyond is counted in the next one."""
LONGEST_KIND = 100


@dataclass(frozen=True, slots=True)
class Refused:
    """So many creations of one kind (empty where the request did not get that far) refused for one reason."""

    kind: str
    number: int = 1


def note(project_id: UUID, refused: Mapping[str, Refused]) -> None:
    """Count refusals by their code, in a transaction of their own.

    That they could not be counted is logged: it must not turn the refusal into something else.
    """
    codes = sorted(refused)
    params = {
        "id": [uuid7() for _ in codes],
        "project_id": project_id,
        "code": codes,
        "kind": [refused[code].kind[:LONGEST_KIND] for code in codes],
        "number": [refused[code].number for code in codes],
        "most": MOST_A_MINUTE,
    }
    try:
        with store.run("refuse", params):
            pass
    except psycopg.Error as error:
        logger.warning("refusals not counted", handler="refusals", action="note", details=str(error)[:200])
