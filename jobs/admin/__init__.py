"""The engine in the admin: jobs with their timeline and the acts of an operator, attempts, workers, shelves, pauses."""

from jobs.admin import interventions, job, pauses, shelves, workers

__all__ = ["interventions", "job", "pauses", "shelves", "workers"]
