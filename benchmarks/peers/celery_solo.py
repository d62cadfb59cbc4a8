"""Plain Celery in its fastest arrangement for no-op tasks: two workers without a pool."""

from benchmarks.peers import celery_app
from benchmarks.peers.protocol import serve

app = celery_app.make(worker_prefetch_multiplier=16)


class Solo(celery_app.CeleryPeer):
    """Celery, two solo workers."""

    settings = "solo x 2 processes, early acknowledgement, prefetch 16, no results, no events"
    app = app
    module = "benchmarks.peers.celery_solo"
    pools = (("-P", "solo"), ("-P", "solo"))


if __name__ == "__main__":
    serve(Solo())
