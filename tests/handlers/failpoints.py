"""Ends its process at a chosen call: `FAILPOINT=module:Class.method:before:3` kills it before the third call.

`hang` instead of `before`: the call never returns.

Loaded like any handler module. `FAILPOINT_ONCE` names a file: where it exists already, nothing happens, so that the
process that is started again lives.
"""

import functools
import importlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _arm(description: str, once: Path) -> None:
    module_name, path, moment, number = description.split(":")
    owner: Any = importlib.import_module(module_name)
    *owners, name = path.split(".")
    for part in owners:
        owner = getattr(owner, part)
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    @functools.wraps(original)
    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        mine = calls == int(number) and not once.exists()
        if mine and moment == "before":
            _die(once)
        if mine and moment == "hang":
            once.touch()
            threading.Event().wait()
        result = original(*args, **kwargs)
        if mine:
            _die(once)
        return result

    setattr(owner, name, counted)


def _die(once: Path) -> None:
    once.touch()
    os.kill(os.getpid(), signal.SIGKILL)


if "FAILPOINT" in os.environ:
    _arm(os.environ["FAILPOINT"], Path(os.environ["FAILPOINT_ONCE"]))
