"""Become another program that cannot outlive its parent.

Run as a plain script, never imported: `python -I -S launch.py PARENT SIGNAL USER PROGRAM [ARGUMENT...]`. It gives up
root for USER (`-` keeps the user), asks the kernel to send SIGNAL when the parent ends in whatever way, and
replaces itself by PROGRAM under the same process id. The kernel forgets that request when the user changes, so the
order matters, and doing it after exec keeps Python code out of the moment between fork and exec.
"""

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Change user, arm the death signal and exec; exits with one sentence when one of them is refused."""
    parent, signal_name, user, *command = arguments
    if user != "-":
        account = pwd.getpwnam(user)
        try:
            os.initgroups(user, account.pw_gid)
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
        except OSError:
            sys.exit(f"Cannot become the user {user}: this environment does not let root change users.")
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, int(signal.Signals[signal_name]), 0, 0, 0) != 0:
            sys.exit(f"Cannot ask for a signal at the parent's end: {os.strerror(ctypes.get_errno())}.")
    if os.getppid() != int(parent):  # the parent ended before the request was in place
        sys.exit(1)
    try:
        os.execv(command[0], command)
    except OSError as error:
        sys.exit(f"Cannot run {command[0]}: {error.strerror}.")


if __name__ == "__main__":
    main(sys.argv[1:])
