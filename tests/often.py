"""Which of many alike cases every run tries, and which only `make test-long` does."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def often(always: Collection[Any], every: Iterable[Any]) -> list[Any]:
    """Every case as a parameter, a tuple as several; those that are not in `always` are marked `long`."""
    return [case if case in always else _long(case) for case in every]


def _long(case: Any) -> Any:
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.long)
