"""Sets the clock of its process wrong, by SKEW seconds. Load it behind the others, whose payload models need the
real class."""

import datetime
import os
import time
from typing import Any

SKEW = float(os.environ.get("SKEW", "0"))
_time, _datetime = time.time, datetime.datetime


class _Kind(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _datetime)


class _Skewed(datetime.datetime, metaclass=_Kind):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return _datetime.now(tz) + datetime.timedelta(seconds=SKEW)

    @classmethod
    def utcnow(cls) -> Any:
        return cls.now(datetime.UTC).replace(tzinfo=None)


if SKEW:
    time.time = lambda: _time() + SKEW
    datetime.datetime = _Skewed  # type: ignore[misc]
