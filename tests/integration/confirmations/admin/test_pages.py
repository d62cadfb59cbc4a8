"""Who may see the pages of the chain, how few questions they ask, what no address breaks; contracts, networks."""

from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from uuid_utils.compat import uuid7

from confirmations.models import (
    Contract,
    Network,
    ScannedRange,
    Signer,
)
from confirmations.states import Step
from events.models import AuditRecord
from jobplatform.admin.people import set_up_groups
from tests.corpora.markup import MARKUP, harm_in, text_of
from tests.integration.confirmations.admin.conftest import (
    address,
    ask,
    decision,
    listing,
    make_attempt,
    make_confirmation,
    make_job,
    make_signer,
    make_tx,
    page_of,
    shown,
)

pytestmark = pytest.mark.django_db

MOST_QUERIES = 12
LISTS = ["signer", "transaction", "confirmation", "contract", "network"]
ODD = ["0x", "0xzz", "%", "'; drop table confirmations_signer; --", "9" * 40, "-1", "\u0663", "٠x", "[", *MARKUP]
STORABLE = [text.replace("\0", "") for text in MARKUP]


# ------------------------------------------------------------------------------------------------ who may see
@pytest.mark.parametrize("name", LISTS)
def test_a_viewer_sees_every_list_and_staff_without_permission_none(
    viewer: Client, stranger: Client, filled: list[Any], name: str
) -> None:
    path = f"/admin/confirmations/{name}/"

    assert viewer.get(path).status_code == 200
    assert stranger.get(path).status_code == 403
    assert path in viewer.get("/admin/").content.decode()
    assert path not in stranger.get("/admin/").content.decode()


def test_a_viewer_sees_every_page_and_staff_without_permission_none(
    viewer: Client, stranger: Client, filled: list[Any]
) -> None:
    for row in filled:
        assert viewer.get(address(row)).status_code == 200, row
        assert stranger.get(address(row)).status_code == 403, row


@pytest.mark.parametrize("name", LISTS)
def test_nobody_adds_or_deletes(root: Client, filled: list[Any], name: str) -> None:
    row = next(row for row in filled if row._meta.model_name == name)

    assert root.post(f"/admin/confirmations/{name}/add/", {}).status_code == 403
    assert root.post(f"/admin/confirmations/{name}/{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert type(row).objects.filter(pk=row.pk).exists()


def test_the_groups_of_daily_work_have_the_permissions() -> None:
    set_up_groups()
    viewers, operators = (
        set(Group.objects.get(name=name).permissions.values_list("codename", flat=True))
        for name in ("viewers", "operators")
    )

    assert {f"view_{name}" for name in LISTS} <= viewers
    assert {"pause_signer", "repair"} <= operators
    assert not {"pause_signer", "repair"} & viewers
    assert not {"change_network", "change_signer", "change_transaction"} & operators


# ------------------------------------------------------------------------------------------------ odd questions
@pytest.mark.parametrize("name", LISTS)
def test_odd_searches_find_nothing_and_break_nothing(root: Client, filled: list[Any], name: str) -> None:
    for term in ODD:
        answer = root.get(f"/admin/confirmations/{name}/", {"q": term})
        assert answer.status_code == 200, term
        assert harm_in(answer.content.decode()) == [], term


@pytest.mark.parametrize("name", LISTS)
def test_odd_filters_break_nothing(root: Client, filled: list[Any], name: str) -> None:
    for column in (
        "signer",
        "step",
        "mode",
        "standing",
        "project",
        "duty",
        "before",
        "address",
        "data",
        "id",
        "p",
        "o",
    ):
        for value in ("x", "", "0x", "\0", str(uuid7())):
            answer = root.get(f"/admin/confirmations/{name}/", {column: value}, follow=True)
            assert answer.status_code in {200, 400}, (column, value)


@pytest.mark.parametrize("name", LISTS)
def test_there_is_no_page_of_what_there_is_not(root: Client, filled: list[Any], name: str) -> None:
    for key in (str(uuid7()), "x", "0", "9" * 40, "-"):
        answer = root.get(f"/admin/confirmations/{name}/{key}/change/")
        assert answer.status_code == (302 if name == "network" else 404), key


def test_nothing_that_was_stored_comes_alive(root: Client, signer: Signer, contract: Contract) -> None:
    for number, evil in enumerate(STORABLE):
        tx = make_tx(signer, contract, number, Step.STUCK, reason=evil, mode=evil)
        make_attempt(tx, reply=evil, said=evil, state=evil)
        row = make_confirmation(signer, contract, tx, kind=evil, reason=evil, mode=evil)
        Signer.objects.update(reason=evil, key=evil, backend=evil)
        Contract.objects.update(span={evil: evil})
        Network.objects.update(name=evil)
        asked = ask("transaction", tx.id, evil)
        for path in (*map(address, (signer, tx, row, contract)), decision(asked, "bump")):
            answer = root.get(path)
            assert answer.status_code == 200, path
            assert harm_in(answer.content.decode()) == [], (path, evil)
    for name in LISTS:
        assert harm_in(listing(root, name)) == []


# ------------------------------------------------------------------------------------------------ contracts
def test_a_contract_shows_how_far_it_is_read(root: Client, contract: Contract) -> None:
    seen = text_of(listing(root, "contract"))
    page = page_of(root, contract)
    text = " ".join(text_of(page).split())

    for part in ("1,149", "101", "1,100"):
        assert part in seen, part
    for part in ("1,149", "101", "1,201", "1,500 (at most 10,000)", "1,100"):
        assert part in text, part
    assert "Complete: every block from 1,000 to 1,149 was read, 101 below the head." in text
    assert reverse("admin:jobs_job_change", args=(UUID(int=5),)) in page
    assert "1,151 1,200 50 1" in text  # a block before it that nobody has read
    assert "1,000 1,149 150 0" in text
    assert "nobody reads" not in text


def test_a_contract_that_nobody_reads_says_so(root: Client, network: Network) -> None:
    row = Contract.objects.create(id=uuid7(), network=network, address=b"\xdd" * 20, deploy_block=1_240, next_block=0)

    text = text_of(page_of(root, row))

    for part in ("nobody reads", "not read yet", "11 blocks", "Nothing was read yet."):
        assert part in text, part
    Network.objects.update(head=None)
    assert root.get(address(row)).status_code == 200
    assert shown(listing(root, "contract", q="0xDDDD"), [row]) == [row]
    assert shown(listing(root, "contract", q="0xee"), [row]) == []


# ------------------------------------------------------------------------------------------------ networks
def changed(network: Network, **changes: Any) -> dict[str, Any]:
    given = {
        "finality": network.finality, "depth": network.depth, "block_seconds": network.block_seconds,
        "least_tip": "0.1", "fee_cap": "500", "in_flight": network.in_flight, "bump_seconds": network.bump_seconds,
        "batch_size": network.batch_size, "batch_seconds": network.batch_seconds, "anchor_size": network.anchor_size,
        "anchor_seconds": network.anchor_seconds, "reason": "fees rise",
    }  # fmt: skip
    return given | changes


def test_a_network_is_changed_with_a_reason_and_what_was_before(root: Client, network: Network) -> None:
    page = page_of(root, network)
    assert 'value="0.1"' in page
    assert 'value="500"' in page

    with CaptureQueriesContext(connection) as asked:
        answer = root.post(address(network), changed(network, fee_cap="750.5", batch_size=50, finality="safe"))

    written = [one["sql"] for one in asked if one["sql"].startswith('UPDATE "confirmations_network"')]
    assert len(written) == 1
    assert '"head"' not in written[0]  # its reader writes that meanwhile
    assert answer.status_code == 302
    after = Network.objects.get()
    assert (after.fee_cap, after.batch_size, after.finality) == (750_500_000_000, 50, "safe")
    assert after.least_tip == 100_000_000
    record = AuditRecord.objects.get()
    assert (record.action, record.actor, record.subject_id, record.reason) == (
        "network.change", "user:root", "31337", "fees rise",
    )  # fmt: skip
    assert record.data["before"] == {"finality": "finalized", "fee_cap": 500_000_000_000, "batch_size": 100}
    assert record.data["after"] == {"finality": "safe", "fee_cap": 750_500_000_000, "batch_size": 50}


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": ""}, {"depth": 0}, {"batch_size": 0}, {"batch_size": 40_000}, {"fee_cap": "0"}, {"fee_cap": "0.05"},
        {"fee_cap": "1e99"}, {"least_tip": "-1"}, {"least_tip": "NaN"}, {"bump_seconds": "inf"}, {"finality": "soon"},
        {"in_flight": 0}, {"anchor_size": 10**12}, {"batch_seconds": -1}, {"depth": "x"},
    ],
)  # fmt: skip
def test_a_network_is_not_set_to_what_it_cannot_work_with(
    root: Client, network: Network, changes: dict[str, Any]
) -> None:
    assert root.post(address(network), changed(network, **changes)).status_code == 200

    assert not AuditRecord.objects.exists()
    assert (Network.objects.get().batch_size, Network.objects.get().fee_cap) == (100, 500_000_000_000)


def test_who_may_not_change_a_network_sees_it(operator: Client, network: Network) -> None:
    page = page_of(operator, network)

    assert 'name="_save"' not in page
    assert "500" in text_of(page)
    assert operator.post(address(network), changed(network)).status_code == 403


def test_nothing_changed_is_no_record(root: Client, network: Network) -> None:
    assert root.post(address(network), changed(network)).status_code == 302

    assert not AuditRecord.objects.exists()


# ------------------------------------------------------------------------------------------------ questions
def many(network: Network, contract: Contract, number: int) -> None:
    """Rows of each sort, each with what hangs on it."""
    for n in range(number):
        signer = make_signer(network, 100 + Signer.objects.count())
        tx = make_tx(signer, contract, 1, Step.INCLUDED, tx_hash=uuid7().bytes * 2)
        make_attempt(tx, hash=bytes(tx.tx_hash or b""))
        make_attempt(tx, 2)
        make_confirmation(signer, contract, tx)
        another = Contract.objects.create(
            id=uuid7(), network=network, address=uuid7().bytes + bytes(4), deploy_block=1, next_block=2
        )
        ScannedRange.objects.create(contract=another, first=1, last=n + 1)
        Network.objects.create(chain_id=Network.objects.count() + 1, name=f"chain-{uuid7()}")


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("signer", {}), ("transaction", {}), ("transaction", {"step": "open"}), ("confirmation", {}),
        ("confirmation", {"standing": "sent"}), ("contract", {}), ("network", {}),
    ],
)  # fmt: skip
def test_a_list_asks_as_much_for_many_rows_as_for_few(
    root: Client, contract: Contract, name: str, query: dict[str, str]
) -> None:
    make_job()
    asked = []
    for number in (2, 12):
        many(contract.network, contract, number)
        with CaptureQueriesContext(connection) as seen:
            listing(root, name, **query)
        asked.append(len(seen))

    assert asked[0] == asked[1] <= MOST_QUERIES


def test_a_page_asks_as_much_for_many_rows_as_for_few(root: Client, signer: Signer, contract: Contract) -> None:
    tx = make_tx(signer, contract, 1_000)
    row = make_confirmation(signer, contract, tx)
    asked = []
    for number in (2, 20):
        for n in range(number):
            make_attempt(make_tx(signer, contract, 100 * number + n))
            make_attempt(tx, 100 * number + n)
            make_confirmation(signer, contract, tx, position=100 * number + n)
            make_confirmation(signer, contract)
        counts = []
        for subject in (signer, tx, row, contract):
            with CaptureQueriesContext(connection) as seen:
                page_of(root, subject)
            counts.append(len(seen))
        asked.append(counts)

    assert asked[0] == asked[1]
    assert max(asked[0]) <= MOST_QUERIES
