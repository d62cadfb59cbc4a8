"""Plain Celery with its default pool: one worker, two child processes."""

from benchmarks.peers import celery_app
from benchmarks.peers.protocol import serve

app = celery_app.make(worker_prefetch_multiplier=16)


class Prefork(celery_app.CeleryPeer):
    """Celery, prefork pool of two."""

    settings = "prefork -c 2, early acknowledgement, prefetch 16 per child, no results, no events"
    app = app
    module = "benchmarks.peers.celery_prefork"
    pools = (("-P", "prefork", "-c", "2"),)


if __name__ == "__main__":
    serve(Prefork())
