"""The append-only log of everything that happened, its consumers, and the audit record beside it."""

from django.apps import AppConfig


class EventsConfig(AppConfig):
    name = "events"
    verbose_name = "Events"
