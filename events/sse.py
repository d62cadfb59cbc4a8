"""Server-Sent Events as bytes, as in https://html.spec.whatwg.org/multipage/server-sent-events.html."""

import re

from events.log import LoggedEvent
from events.selectors import EventRow, Place
from events.serializers import event_id, show_event
from jobplatform.api.encoding import dumps

LARGEST_DATA = 256 * 1024
"""So many bytes of `data` a streamed event has at most; of a larger one `data` is empty and `truncated` is true."""
RETRY_MILLISECONDS = 2000
"""How long a client waits before it comes back."""

_ENDS_A_LINE = re.compile(r"[\r\n\0]")


def frame(event: str, data: object, *, id_: str = "") -> bytes:
    """One event. `data` becomes one line of JSON; without an id the client keeps the last one."""
    first = f"id: {id_}\n" if id_ else ""
    return b"%sevent: %s\ndata: %s\n\n" % (
        first.encode(),
        _ENDS_A_LINE.sub(" ", event).encode(),
        dumps(data),
    )


def encode(row: EventRow | LoggedEvent) -> bytes:
    """An event of the log, with its id."""
    shown = show_event(row)
    if len(row.data) > LARGEST_DATA:
        shown |= {"data": {}, "truncated": True}
    return frame(row.type, shown, id_=shown["id"])


def opening(place: Place) -> bytes:
    """What comes first: when to come back, and from where on."""
    return b"retry: %d\nid: %s\n\n" % (RETRY_MILLISECONDS, event_id(place).encode())


def heartbeat(place: Place) -> bytes:
    """A comment that keeps the connection open, and the id of how far the log was looked through."""
    return b": heartbeat\nid: %s\n\n" % event_id(place).encode()
