"""The socket of a node: a doorbell. It says that there is a new block, and what it thinks stands in it.

It is never asked for the truth, and nothing waits for it longer than a block takes: without it, or when it breaks, the
reader looks by itself at the pace of the chain.
"""

import time
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import orjson
import structlog
from django.conf import settings

from confirmations.errors import NodeNonsense
from confirmations.gateway.chain import Told, log
from confirmations.results import shown

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

logger = structlog.get_logger(__name__)

OPEN_SECONDS = 3.0
AGAIN_SECONDS = 5.0
LARGEST = 4 * 1024 * 1024


class Doorbell:
    """Wakes the reader of a contract. Used as a context; never raises."""

    def __init__(self, contract: bytes) -> None:
        self._contract = contract
        self._socket: ClientConnection | None = None
        self._opened = ExitStack()
        self._tried_at = float("-inf")
        self._told: list[tuple[Told, bool]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def told(self) -> bool:
        """Whether logs were pushed."""
        return bool(self._told)

    def take(self) -> list[tuple[Told, bool]]:
        """The logs that were pushed since this was last asked; each with whether it was taken back."""
        told, self._told = self._told, []
        return told

    def wait(self, seconds: float) -> bool:
        """Wait until a block is announced, for so long at most. True: one is."""
        until = time.monotonic() + seconds
        socket = self._open()
        if socket is None:
            time.sleep(seconds)
            return False
        from websockets.exceptions import WebSocketException  # noqa: PLC0415 - it is loaded by now

        try:
            while (left := until - time.monotonic()) > 0:
                if self._heard(socket.recv(timeout=left)):
                    return True
        except TimeoutError:
            return False
        except (WebSocketException, OSError) as error:
            logger.info("socket lost", handler="confirmation.capture", action="listen", details=repr(error)[:200])
            self._close()
        return False

    def _open(self) -> "ClientConnection | None":
        if self._socket is not None or not settings.RPC_WS_URL:
            return self._socket
        if time.monotonic() - self._tried_at < AGAIN_SECONDS:
            return None
        from websockets.exceptions import WebSocketException  # noqa: PLC0415 - for the readers of contracts alone
        from websockets.sync.client import connect  # noqa: PLC0415

        self._tried_at = time.monotonic()
        try:
            self._socket = self._opened.enter_context(
                connect(settings.RPC_WS_URL, open_timeout=OPEN_SECONDS, max_size=LARGEST, proxy=None)
            )
            for number, what in enumerate((["newHeads"], ["logs", {"address": shown(self._contract)}]), 1):
                ask = {"jsonrpc": "2.0", "id": number, "method": "eth_subscribe", "params": what}
                self._socket.send(orjson.dumps(ask).decode())
        except (WebSocketException, OSError, TimeoutError) as error:
            logger.info("no socket", handler="confirmation.capture", action="listen", details=repr(error)[:200])
            self._close()
        return self._socket

    def _heard(self, text: Any) -> bool:
        """Take in a message. True: a block is there."""
        try:
            said = orjson.loads(text)
            found = said["params"]["result"]
            if "topics" not in found:
                return True
            self._told.append((log(found), bool(found.get("removed"))))
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, NodeNonsense):
            return False  # an answer to a subscription, or nothing that anybody understands
        return False

    def _close(self) -> None:
        self._socket = None
        self._opened.close()
