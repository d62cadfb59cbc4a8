"""Dead letters by cause, and redrives, in the admin."""

from reconciliation.admin import findings, redrives

__all__ = ["findings", "redrives"]
