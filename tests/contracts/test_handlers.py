"""Every kind keeps the contract of at-least-once: however often it is delivered, what is there afterwards is the same.

Parametrised by the registry: a new kind is tested with its example as soon as it is registered.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pydantic import BaseModel
from pytest_django import DjangoDbBlocker

from events import consumers
from events.models import Consumer
from events.services import report
from jobs import Done, Park, Run, handler, registry
from jobs.registry import Kind
from tests.anvil import Anvil
from tests.contracts.chain import ON_CHAIN
from tests.contracts.deliveries import ARRANGED, DISTURBED, PROJECT, arrange, once, what_is_there
from tests.databases import Cluster, django_on
from tests.world import make_keystore, world_of

pytestmark = pytest.mark.timeout(120)

KINDS = [kind for kind in registry.kinds() if not kind.name.startswith("test.")]

Deliver = Callable[[Kind[Any]], None]
Delivered = Callable[..., dict[str, Any]]


class Nothing(BaseModel):
    """Nothing to say."""


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, Any]:
    """What is there after one delivery, by kind."""
    return {}


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key that signs; the same for each delivery, so that they can be compared."""
    return make_keystore(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def delivered(
    cluster: Cluster, tmp_path: Path, settings: Any, keystore: Path, django_db_blocker: DjangoDbBlocker
) -> Iterator[Delivered]:
    """What is there after a job of a kind was delivered in some way, to a database, a storage and a chain of its own."""

    def deliver_to_new(kind: Kind[Any], deliver: Deliver, on: Cluster = cluster) -> dict[str, Any]:
        storage = Path(tempfile.mkdtemp(dir=tmp_path))
        settings.STORAGE_URL = f"file://{storage}"
        url = on.make()
        try:
            with django_on(url), contextlib.ExitStack() as stack:
                if kind.name not in ON_CHAIN:
                    job = arrange(kind)
                    deliver(kind)
                    return what_is_there(job, storage)
                node = stack.enter_context(Anvil())
                job = ON_CHAIN[kind.name](stack.enter_context(world_of(node, keystore, settings)))
                deliver(kind)
                return what_is_there(job, storage) | {"sent": node.sent()}
        finally:
            on.drop(url)

    with django_db_blocker.unblock():
        yield deliver_to_new


def test_there_are_kinds() -> None:
    assert KINDS
    assert set(ARRANGED) | set(ON_CHAIN) <= {kind.name for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_has_an_example_and_says_what_it_does(kind: Kind[Any]) -> None:
    assert kind.example is not None
    kind.payload.model_validate(kind.example)
    assert kind.title != kind.name


@pytest.mark.parametrize("deliver", DISTURBED, ids=lambda deliver: deliver.__name__)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_disturbed_delivery_leaves_what_one_delivery_leaves(
    kind: Kind[Any], deliver: Deliver, delivered: Delivered, undisturbed: dict[str, Any]
) -> None:
    if kind.name not in undisturbed:
        undisturbed[kind.name] = delivered(kind, once)
    found = delivered(kind, deliver)

    assert found["job"][0][0] == "processed"
    assert found == undisturbed[kind.name]


def test_a_handler_that_writes_outside_its_commit_is_found(delivered: Delivered) -> None:
    before = dict(registry._kinds)

    @handler("test.leaky", payload=Nothing, example={}, public=False)
    def leaky(job: Run[Nothing]) -> Done:
        """Writes what its commit should write."""
        with connection.cursor() as cursor:
            cursor.execute("insert into effect (job_id, attempt, what) values (%s, 1, 'leak')", [job.id])
        return Done()

    try:
        right = delivered(leaky, once)
        for deliver in DISTURBED:
            assert delivered(leaky, deliver) != right
    finally:
        registry._kinds.clear()
        registry._kinds.update(before)


class Subject(BaseModel):
    """What to wait for an event about."""

    subject: str


@pytest.mark.parametrize("wake", [*DISTURBED, once], ids=lambda deliver: deliver.__name__)
@pytest.mark.parametrize("park", [*DISTURBED, once], ids=lambda deliver: deliver.__name__)
def test_a_job_that_waits_for_an_event_keeps_the_contract_before_and_after_it(
    park: Deliver, wake: Deliver, delivered: Delivered, own_cluster: Cluster
) -> None:
    before = dict(registry._kinds)

    @handler("test.waits", payload=Subject, example={"subject": "order-7"}, public=False)
    def waits(job: Run[Subject]) -> Done | Park:
        """Waits once."""
        woken = job.woken_by
        if woken is None:
            return Park(600, event="payment.arrived", subject=job.payload.subject)
        return Done(dict(woken.data), within=lambda: _paid(job))

    def whole(first: Deliver, second: Deliver) -> Deliver:
        def deliver(kind: Kind[Any]) -> None:
            consumers.ensure_rows()
            first(kind)
            for number in (1, 2):  # two of them: the second is told to nobody
                report(project_id=PROJECT, event_type="payment.arrived", subject="order-7", data={"number": number})
            for _ in range(4):
                Consumer.objects.filter(name="awaited").update(retry_at=None)
                consumers.run("awaited")
            second(kind)

        return deliver

    try:
        right = delivered(waits, whole(once, once), own_cluster)
        found = delivered(waits, whole(park, wake), own_cluster)
    finally:
        registry._kinds.clear()
        registry._kinds.update(before)

    assert found["job"] == [("processed", '{"number": 1}')]
    assert found == right


def _paid(job: Run[Subject]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("insert into effect (job_id, attempt, what) values (%s, 1, 'paid')", [job.id])
