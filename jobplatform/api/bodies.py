"""A request's body is read before the request takes a place: a client that sends slowly keeps nobody else waiting.

Granian hands a request on when its headers are there, and a read of the body waits for the client, with no end to it.
So what waits here is a thread and nothing else, of which a process has many; and only so many wait at a time that
requests without a body always find one. In production the proxy takes the whole body first (docs/operations.md).

    application = Ahead(Places(get_wsgi_application()))
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from queue import Empty
from threading import BoundedSemaphore
from typing import Any

from jobplatform.api import parsers
from jobplatform.api.connections import PATIENCE, answer, too_many

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[Environ, Any], Iterable[bytes]]

SMALL = 1024 * 1024  # bytes
LARGEST = 16 * 1024 * 1024  # bytes: no address of the API takes more, most take less and say so themselves
FORM = 2560 * 1024  # bytes of what is sent to a page
MOST_SMALL = 96  # bodies that one process reads at a time, of its 160 threads
MOST_LARGE = 4  # bodies beyond SMALL, or of unknown length; kept until the request has ended, so they bound memory too


class Ahead:
    """A WSGI application that reads the body, bounded, and passes on a request that is all there."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._small, self._large = BoundedSemaphore(MOST_SMALL), BoundedSemaphore(MOST_LARGE)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer; 413 for a body that nothing here takes, 503 when too many bodies are under way."""
        announced = environ.get("CONTENT_LENGTH") or ""
        chunked = not announced and "HTTP_TRANSFER_ENCODING" in environ
        most = LARGEST if environ.get("PATH_INFO", "").startswith("/api/") else FORM
        length = int(announced[:20]) if announced.isascii() and announced.isdigit() else 0
        if length > most:
            return answer(parsers.too_large(most), start_response)
        if not chunked and not length:
            return self._application(environ, start_response)
        try:
            if not chunked and length <= SMALL:
                with _one_of(self._small):
                    _read(environ, length)
                return self._application(environ, start_response)
            with _one_of(self._large):
                _read(environ, most + 1 if chunked else length)
                return self._application(environ, start_response)
        except Empty:
            return answer(too_many(), start_response)


def _read(environ: Environ, length: int) -> None:
    # One read for everything: granian forgets the rest of a chunk that was read in part.
    environ["wsgi.input"] = BytesIO(environ["wsgi.input"].read(length))


@contextmanager
def _one_of(places: BoundedSemaphore) -> Iterator[None]:
    if not places.acquire(timeout=PATIENCE):
        raise Empty
    try:
        yield
    finally:
        places.release()
