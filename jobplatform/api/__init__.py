"""The ground under every app's views: strict JSON in, problems and pages out, idempotent creation.

Nothing is imported here: a worker uses the ground's database errors, and starts without Django REST framework.
"""
