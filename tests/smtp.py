"""A server of mail that keeps what it gets, and refuses what a test wants it to."""

from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default as modern
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

HOST = "127.0.0.1"


class _OnAFreePort(Controller):
    """Which port it has, it learns when it listens; then it knocks there, as it does in any case."""

    def _trigger_server(self) -> None:
        server: Any = self.server
        self.port = server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call] # the library has no types


class Mailbox:
    """A real server on a free port. `answers`: what it says to the next messages, instead of taking them."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.answers: list[str] = []
        self._controller = _OnAFreePort(self, hostname=HOST, port=0)

    def start(self) -> None:
        """Listen."""
        self._controller.start()

    def stop(self) -> None:
        """Nobody listens any more."""
        if self._controller.server is not None:
            self._controller.stop()

    @property
    def url(self) -> str:
        """What EMAIL_URL is set to."""
        return f"smtp://{HOST}:{self._controller.port}"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - the library's name
        """Take a message."""
        if self.answers:
            return self.answers.pop(0)
        assert isinstance(envelope.content, bytes)
        message = BytesParser(_class=EmailMessage, policy=modern).parsebytes(envelope.content)
        self.messages.append(message)
        return "250 taken"
