"""Doorbells in flight, as the relay counts them."""

import pytest

from jobs import doorbells, store

pytestmark = pytest.mark.django_db


def test_a_kind_that_moves_to_another_queue_is_counted_in_both() -> None:
    link = store.connection_of_django()
    for queue, number in (("old", 3), ("new", 1)):
        for _ in range(number):
            doorbells.ring("parcel.send", queue, on=link)

    found = doorbells.in_flight(on=link)

    assert {key: (bells.queue, bells.unanswered, bells.answered) for key, bells in found.items()} == {
        ("parcel.send", "old"): ("old", 3, 0),
        ("parcel.send", "new"): ("new", 1, 0),
    }
