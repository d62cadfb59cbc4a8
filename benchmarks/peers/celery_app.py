"""Celery on Redis as its guide to optimizing wants it for many short tasks; each peer file adds its own settings.

No gossip, no mingle, no heartbeats, no events, no rate limits. Warm-up and gate: the workers first read only the
queue `warm`; `add_consumer`, a remote control command, lets them read `work`.
"""

import os
import time
from typing import Any

from celery import Celery
from celery.signals import before_task_publish

from benchmarks import recorder
from benchmarks.peers import protocol

WARM_UP = 200  # tasks that run before the gate opens, so that every child has run some


def noop(number: int) -> None:
    recorder.tick()


def warm() -> None:
    """Do nothing: makes a child ready."""


def pick_up(index: int) -> None:
    recorder.picked(index)


def make(**settings: object) -> Celery:
    """Return an application with the three tasks and these settings."""
    app = Celery("bench", broker=os.environ.get("BROKER_URL", ""))
    app.conf.update(
        broker_connection_retry_on_startup=True,
        task_default_queue="work",
        task_ignore_result=True,
        worker_disable_rate_limits=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    app.conf.update(**settings)
    for function in (noop, warm, pick_up):
        # Not shared: otherwise every other application of this process would get these tasks as well.
        app.task(name=function.__name__, shared=False)(function)
    return app


class CeleryPeer(protocol.Peer):
    """What all pools have in common."""

    packages: tuple[str, ...] = ("celery", "kombu", "redis")
    app: Celery
    module: str  # for `celery -A`
    pools: tuple[tuple[str, ...], ...]  # the arguments that choose the pool, for each worker process to be started

    def __init__(self) -> None:
        super().__init__()
        self.published = 0
        before_task_publish.connect(self._note_publish)

    def _note_publish(self, **_: Any) -> None:
        self.published = time.monotonic_ns()

    def prepare(self) -> None:
        """Nothing: queues come to be when they are used."""

    def enqueue(self, jobs: int) -> None:
        task = self.app.tasks["noop"]
        with self.app.producer_pool.acquire(block=True) as producer:
            for number in range(jobs):
                task.apply_async((number,), producer=producer)

    def start(self) -> None:
        for number, pool in enumerate(self.pools):
            self.spawn(
                *("-m", "celery", "-A", self.module, "worker", "-Q", "warm", "-n", f"bench{number}@localhost", *pool),
                *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"),
            )
        protocol.wait_until(lambda: len(self.app.control.ping(timeout=0.5) or ()) == len(self.workers), self.workers)
        for _ in range(WARM_UP):
            self.app.tasks["warm"].apply_async(queue="warm")
        with self.app.connection_for_read() as connection:
            channel: Any = connection.channel()
            protocol.wait_until(lambda: channel.client.llen("warm") == 0, self.workers)

    def open_gate(self) -> None:
        self.app.control.add_consumer("work", reply=False)

    def send(self, index: int) -> protocol.Handover:
        self.app.tasks["pick_up"].apply_async((index,))
        return protocol.Handover.at(self.published)
