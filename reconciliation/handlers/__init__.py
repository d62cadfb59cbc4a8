"""The kinds of reconciliation."""

from reconciliation.handlers import alarms, chores, redrives

__all__ = ["alarms", "chores", "redrives"]
