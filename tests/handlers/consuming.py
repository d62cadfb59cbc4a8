"""A consumer of the log that writes down what it sees, in the transaction that moves its cursor."""

import os
from collections.abc import Sequence

from django.db import connection

from events.consumers import consumer
from events.log import LoggedEvent


@consumer("test_writer", batch=50)
def write_down(events: Sequence[LoggedEvent]) -> None:
    """Write subject and seq of each."""
    with connection.cursor() as cursor:
        for event in events:
            cursor.execute(
                "insert into seen (subject_id, seq, pid) values (%s, %s, %s)",
                [event.subject_id, event.seq, os.getpid()],
            )
