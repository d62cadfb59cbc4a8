"""The engine in the admin: jobs with their timeline and the acts of an operator, attempts, workers, shelves."""

from jobs.admin import interventions, job, shelves, workers

__all__ = ["interventions", "job", "shelves", "workers"]
