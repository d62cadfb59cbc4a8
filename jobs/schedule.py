"""Schedules that ship with the platform, and how their rows come to exist.

People edit the rows (django-celery-beat, in the admin); beat fires them (`jobs/beat.py`). Each app of the platform
lists its own in `<app>/schedule.py: SCHEDULES`.
"""

import importlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.db import connection, transaction
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs import registry

LOCK = 7_301_990_145  # advisory lock: one process makes the rows at a time


@dataclass(frozen=True, slots=True)
class Scheduled:
    """One shipped schedule: a job of `kind` every so many seconds."""

    name: str
    kind: str
    seconds: int
    payload: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""


SCHEDULES = (
    Scheduled("rotate the log", "log.rotate", 6 * 3600, description="Makes the coming day partitions, drops old ones."),
    Scheduled("count the log", "engine.count", 60, description="Counts events and durations for the metrics."),
    Scheduled("tidy up", "engine.tidy", 3600, description="Removes expired keys, stored responses and old workers."),
    Scheduled(
        "keep the heads of the audit record",
        "audit.keep_heads",
        3600,
        description="Stores where the chains of the audit record end, so that none is cut off unseen.",
    ),
)


def shipped() -> Iterator[Scheduled]:
    """What every installed app ships."""
    for config in apps.get_app_configs():
        name = f"{config.name}.schedule"
        if config.module is not None and importlib.util.find_spec(name):
            yield from getattr(importlib.import_module(name), "SCHEDULES", ())


def unknown_kinds() -> list[tuple[str, str]]:
    """Shipped schedules whose kind no handler registers: (schedule, kind)."""
    return [(item.name, item.kind) for item in shipped() if registry.find(item.kind) is None]


def ensure_rows() -> int:
    """Make the rows of shipped schedules that do not exist yet; what people edited stays. Returns how many."""
    made = 0
    with transaction.atomic():
        # Relays start at the same time, and nothing in the table of intervals forbids the same one twice.
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_xact_lock(%s)", [LOCK])
        for item in shipped():
            if PeriodicTask.objects.filter(name=item.name).exists():
                continue
            # An interval of its own: many may be as long, and editing another's would change this one.
            every = IntervalSchedule.objects.create(every=item.seconds, period=IntervalSchedule.SECONDS)
            PeriodicTask.objects.create(
                name=item.name,
                task=item.kind,
                interval=every,
                kwargs=json.dumps(dict(item.payload)),
                description=item.description,
            )
            made += 1
    return made
