"""Dead letters by cause, redrives, findings and alarms, in the admin."""

from reconciliation.admin import alarm_rules, alarms, findings, redrives

__all__ = ["alarm_rules", "alarms", "findings", "redrives"]
