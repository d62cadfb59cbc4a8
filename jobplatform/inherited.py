"""What a forked worker process inherits of its parent's connections, and lets go before it opens its own.

A socket that two processes hold is closed only when both have closed it: a server would believe in a client that
has gone, and a byte that the wrong one writes or reads ruins the other's conversation.
"""

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

OPEN_FILES = Path("/dev/fd")
FIRST = 3  # standard input, output and error may be sockets, and are meant to be shared


def let_go() -> int:
    """Let go of every connection over a stream socket that this process has. Returns how many there were.

    The number of each stays taken, by a file that swallows everything: the objects that still know it must not
    find somebody else's connection there.
    """
    numbers = [int(entry.name) for entry in OPEN_FILES.iterdir()]
    found = [number for number in numbers if number >= FIRST and _is_connection(number)]
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        for number in found:
            os.dup2(nowhere, number, inheritable=False)
    finally:
        os.close(nowhere)
    return len(found)


def _is_connection(number: int) -> bool:
    """Whether an open file is one end of a stream to an address: a pair of sockets has none."""
    with suppress(OSError):
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            return False
        with socket.socket(fileno=os.dup(number)) as end:
            return end.type == socket.SOCK_STREAM and bool(end.getpeername())
    return False
