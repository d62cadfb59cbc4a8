"""Shared memory that outlives a worker process: which job it had started when it died, and by when it must end.

The parent of a Celery worker makes the block before it forks; each child owns one slot and writes it before every
handler. The parent reads the slot of a child that is gone, so that the started job alone is charged.
"""

import contextlib
import fcntl
import mmap
import os
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

SLOTS = 256

# worker id, pid, claim_no, deadline (monotonic seconds, 0: none), what runs, job id
_SLOT = struct.Struct("=iiidB16s")
_STOPPING = SLOTS * _SLOT.size
_NOTHING, _JOB, _WINDOW = 0, 1, 2

_block: mmap.mmap | None = None
_door = -1  # a file that whoever takes a slot locks; the kernel opens the lock of a process that dies


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot as the parent reads it. `job_id` is None when no handler was running, or many (`window`)."""

    index: int
    worker: int
    pid: int
    claim_no: int
    deadline: float
    job_id: UUID | None
    window: bool


def make() -> None:
    """Make the block. Called once in the parent, before its children are forked."""
    global _block, _door  # noqa: PLW0603 - one block per process tree
    if _block is None:
        _block = mmap.mmap(-1, _STOPPING + 1)
        with tempfile.TemporaryFile() as file:
            _door = os.dup(file.fileno())


def take(worker: int, pid: int) -> "Pen":
    """Take a free slot for a worker process, or a private one where no parent made a block."""
    make()
    block = _require()
    with _alone():
        for index in range(SLOTS):
            if _SLOT.unpack_from(block, index * _SLOT.size)[1] == 0:  # once its parent has read it, or it was released
                _SLOT.pack_into(block, index * _SLOT.size, worker, pid, 0, 0.0, 0, bytes(16))
                return Pen(block, index, worker, pid)
    message = f"More than {SLOTS} worker processes below one parent."
    raise RuntimeError(message)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """No other process below this parent is here."""
    fcntl.lockf(_door, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(_door, fcntl.LOCK_UN)


def taken() -> list[Slot]:
    """The slots in use."""
    if _block is None:
        return []
    found = []
    for index in range(SLOTS):
        worker, pid, claim_no, deadline, started, job_id = _SLOT.unpack_from(_block, index * _SLOT.size)
        if pid:
            found.append(
                Slot(
                    index,
                    worker,
                    pid,
                    claim_no,
                    deadline,
                    UUID(bytes=job_id) if started == _JOB else None,
                    started == _WINDOW,
                )
            )
    return found


def free(slot: Slot) -> None:
    """Give a slot back, once its dead child has been dealt with."""
    _SLOT.pack_into(_require(), slot.index * _SLOT.size, 0, 0, 0, 0.0, 0, bytes(16))


def stop() -> None:
    """Tell the children that the worker shuts down: what has not started is handed back."""
    if _block is not None:
        _block[_STOPPING] = 1


def stopping() -> bool:
    """Whether the worker shuts down."""
    return _block is not None and _block[_STOPPING] == 1


def _require() -> mmap.mmap:
    if _block is None:
        message = "The block of slots is made in the parent process."
        raise RuntimeError(message)
    return _block


class Pen:
    """Writes one slot. Cheap: one struct packed into shared memory."""

    def __init__(self, block: mmap.mmap, index: int, worker: int, pid: int) -> None:
        self._block = block
        self._offset = index * _SLOT.size
        self._worker = worker
        self._pid = pid

    def started(self, job_id: UUID, claim_no: int, deadline: float) -> None:
        """A handler starts. From here until `ended` a crash is this job's."""
        _SLOT.pack_into(self._block, self._offset, self._worker, self._pid, claim_no, deadline, _JOB, job_id.bytes)

    def window(self, deadline: float) -> None:
        """Many async handlers run; nobody can tell which of them a crash belongs to."""
        _SLOT.pack_into(self._block, self._offset, self._worker, self._pid, 0, deadline, _WINDOW, b"")

    def ended(self) -> None:
        """No handler runs."""
        _SLOT.pack_into(self._block, self._offset, self._worker, self._pid, 0, 0.0, 0, b"")

    def deadline(self) -> float:
        """By when what runs must end (monotonic seconds); 0: nothing runs."""
        deadline: float = _SLOT.unpack_from(self._block, self._offset)[3]
        return deadline

    def release(self) -> None:
        """The process ends in order."""
        _SLOT.pack_into(self._block, self._offset, 0, 0, 0, 0.0, 0, b"")
