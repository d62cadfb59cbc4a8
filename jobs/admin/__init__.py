"""The engine in the admin: jobs with their timeline and the acts of an operator, workers, shelves, pauses, limits."""

from jobs.admin import bulk, interventions, job, kinds, limits, pauses, shelves, workers

__all__ = ["bulk", "interventions", "job", "kinds", "limits", "pauses", "shelves", "workers"]
