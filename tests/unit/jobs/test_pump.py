"""What a pump decides before it claims."""

from dataclasses import replace

import pytest

from jobs import Retry, pump
from tests.unit.jobs.test_judge import kind


@pytest.mark.parametrize(
    ("retry", "expect", "lazy"),
    [
        (Retry(), None, True),
        (Retry.never(), None, False),  # what the server forgets would run twice
        (Retry(), 60.0, False),  # it is announced: a reader of the log may have seen what the server forgets
    ],
)
def test_only_what_may_run_twice_and_nobody_hears_of_is_claimed_lazily(
    retry: Retry, expect: float | None, *, lazy: bool
) -> None:
    asked = replace(kind(), retry=retry, expect=expect)

    assert asked.announces == (expect is not None)
    assert pump._may_be_lazy(asked) is lazy
