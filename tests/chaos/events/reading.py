"""A consumer that writes down what it sees."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from django.db import connection

from events import consumers, log
from events.log import LoggedEvent

Link = psycopg.Connection[Any]
NAME = "test_reader"


@dataclass
class Reader:
    """The consumer. What it saw stands in the table `seen`, written in the transaction that moves its cursor."""

    fails: list[Exception] = field(default_factory=list)

    def consume(self, events: Sequence[LoggedEvent]) -> None:
        """Write down; fails first where the test wants it."""
        with connection.cursor() as cursor:
            for event in events:
                cursor.execute(
                    "insert into seen (position, event_id, subject_id, seq, type) values (%s, %s, %s, %s, %s)",
                    [event.position, event.id, event.subject_id, event.seq, event.type],
                )
        if self.fails:
            raise self.fails.pop(0)

    def run(self) -> int:
        """Read until there is nothing more; returns how many events."""
        total = 0
        while number := consumers.run(NAME):
            total += number
        return total

    @property
    def row(self) -> dict[str, Any]:
        """Its cursor."""
        return self.ask("select * from events_consumer where name = %s", NAME)[0]

    def seen(self, subject: UUID | None = None) -> list[int]:
        """The `seq` of what it saw, in its order: of one subject, or of all."""
        rows = self.ask("select subject_id, seq from seen order by number")
        return [row["seq"] for row in rows if subject is None or row["subject_id"] == subject]

    @staticmethod
    def ask(query: str, *parameters: Any) -> list[dict[str, Any]]:
        """Rows of the database, through Django's connection."""
        with connection.cursor() as cursor:
            cursor.execute(query, parameters)
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def append(link: Link, subject: UUID, seq: int) -> None:
    """Append an event through the statement that the apps use, on a connection of the test's own."""
    parameters = {
        "project_id": [UUID(int=7)],
        "type": ["job.queued"],
        "subject_id": [subject],
        "seq": [seq],
        "data": ["{}"],
    }
    psycopg.Cursor(link).execute(log._SQL["append"], parameters, prepare=True)
