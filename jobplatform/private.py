"""Files and directories that are ours alone, made where somebody else may have been before.

Root may start the platform on the data of another user, who can put a symbolic link wherever a file is expected.
Nothing here follows one: what is written, given away or made private is the entry itself.
"""

import os
import pwd
from contextlib import suppress
from pathlib import Path

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def write(path: Path, text: str, user: str | None = None) -> None:
    """Replace a file by one of mode 0600, of `user` or of ours.

    A reader sees the old text or the new one, also after a power cut.
    """
    within = os.open(path.parent, _DIRECTORY)
    draft = f"{path.name}.new"
    try:
        with suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=within)
        with os.fdopen(os.open(draft, _NEW, 0o600, dir_fd=within), "w") as file:
            _give(file.fileno(), user)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path.name, src_dir_fd=within, dst_dir_fd=within)
    finally:
        os.close(within)


def append(path: Path) -> int:
    """Open a file of ours to append to it. Returns the descriptor. Raises OSError for a symbolic link."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)


def directory(path: Path, user: str | None = None) -> None:
    """Make sure that a directory is there, 0700, and `user`'s or as it was. Raises OSError for a symbolic link."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = os.open(path, _DIRECTORY)
    try:
        os.fchmod(found, 0o700)
        _give(found, user)
    finally:
        os.close(found)


def _give(descriptor: int, user: str | None) -> None:
    if user is not None:
        account = pwd.getpwnam(user)
        os.fchown(descriptor, account.pw_uid, account.pw_gid)
