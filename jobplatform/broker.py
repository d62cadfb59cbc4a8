"""What the broker delivers, read with suspicion: a message that nobody understands is dropped, and the worker lives.

Celery and kombu let the errors of a garbled message through. The worker then ends, gives what it held back to the
broker, and so does every worker after it. So does one that acknowledges a doorbell after the broker was away. But a
doorbell is worth no worker: the relay rings again for what is due.
"""

from collections.abc import Callable
from queue import Empty
from typing import Any

import celery.worker.consumer
import kombu.transport.redis
import kombu.transport.virtual
import redis
import structlog

logger = structlog.get_logger(__name__)

GARBLED = (ValueError, TypeError, LookupError, AttributeError)  # not JSON, not an object, or without its parts


class QoS(kombu.transport.redis.QoS):
    """What a worker has taken and not yet acknowledged: as many messages as it has children, and then it takes no more.

    kombu keeps one whose acknowledgement did not reach the broker, which costs the worker a place for ever; with
    the last of them it takes nothing any more, while it looks well. Here the place is free, and the error is told.
    """

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message."""
        try:
            super().ack(delivery_tag)
        except Exception:
            kombu.transport.virtual.QoS.ack(self, delivery_tag)
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
        """Reject a message."""
        try:
            super().reject(delivery_tag, requeue=requeue)
        except Exception:
            kombu.transport.virtual.QoS.ack(self, delivery_tag)
            raise


class Channel(kombu.transport.redis.Channel):
    """A channel that a text in a queue's list cannot end."""

    QoS = QoS

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc] # the stubs know the public methods only
        except GARBLED as error:
            _refused(error)
            raise Empty from None  # as if nothing had come

    def _connparams(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Parameters of a connection. After the channel's own was given up, kombu would look for them in None."""
        if self.connection.client is None:
            message = "The channel's connection was given up."
            raise redis.exceptions.ConnectionError(message)  # which whoever acknowledges or closes is prepared for
        return dict(super()._connparams(*args, **kwargs))  # type: ignore[misc] # likewise


class Transport(kombu.transport.redis.Transport):
    """kombu's Redis with that channel."""

    Channel = Channel


class Consumer(celery.worker.consumer.Consumer):
    """A consumer that a message cannot end."""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Wrap Celery's own handler of a received message."""
        receive = super().create_task_handler(*args, **kwargs)

        def receive_or_refuse(message: Any) -> Any:
            try:
                return receive(message)
            except Exception as error:  # noqa: BLE001 - whatever is wrong, the next message may be right
                _refused(error)
                message.reject_log_error(logger, self.connection_errors)  # type: ignore[attr-defined] # likewise

        return receive_or_refuse


def _refused(error: Exception) -> None:
    logger.error("message refused", handler="worker", action="refuse", details=repr(error)[:200])
