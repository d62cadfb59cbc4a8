"""Transactions and confirmations in the admin, and the confirmation on the page of a job."""

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from uuid_utils.compat import uuid7

from confirmations import merkle
from confirmations.models import (
    Anchor,
    Contract,
    Network,
    Signer,
)
from confirmations.results import job_bytes
from confirmations.states import Standing, Step, Try
from jobs import extensions
from tests.corpora.markup import text_of
from tests.integration.confirmations.admin.conftest import (
    GWEI,
    PROJECT,
    address,
    ask,
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


# ------------------------------------------------------------------------------------------------ transactions
def test_the_page_of_a_transaction_tells_its_attempts_and_its_jobs(
    root: Client, signer: Signer, contract: Contract
) -> None:
    tx = make_tx(
        signer, contract, 8, Step.STUCK, mode="anchor", count=60, reason="refused_fatal", frees=True, silent_since=1_234,
        offer={"tip": 2 * GWEI, "fee": 30 * GWEI},
    )  # fmt: skip
    Anchor.objects.create(transaction=tx, root=b"\xaa" * 32, leaves=60, nodes=b"")
    make_attempt(tx, 1, state=Try.DROPPED, tip=GWEI + GWEI // 2)
    second = make_attempt(tx, 2, state=Try.REFUSED, reply="fatal", said="intrinsic <gas> too low", frees=True)
    jobs = [make_confirmation(signer, contract, tx, mode="anchor", position=n) for n in range(60)]
    asked = ask("transaction", tx.id)

    page = page_of(root, tx)
    text = text_of(page)

    for part in (
        "Nonce 8", "stuck", "refused_fatal", "1.5", "20", "intrinsic <gas> too low", "uses up the nonce",
        "0x" + bytes(second.hash).hex(), "0x" + "aa" * 32, "30 gwei", "1,234", "dropped",
    ):  # fmt: skip
        assert part in text, part
    assert shown(page, [signer, contract, contract.network]) == [signer, contract, contract.network]
    assert shown(page, jobs) == jobs[:50]
    assert reverse("admin:jobs_job_change", args=(jobs[0].id,)) in page
    assert f"?q={tx.id}" in page
    assert reverse("admin:jobs_intervention_change", args=(asked.id,)) in page


def test_transactions_are_filtered_by_signer_step_and_mode(root: Client, network: Network, contract: Contract) -> None:
    one, two = make_signer(network, 1), make_signer(network, 2)
    rows = [
        make_tx(one, contract, 1, Step.FINAL), make_tx(one, contract, 2, Step.STUCK, mode="anchor"),
        make_tx(two, contract, 1, Step.INCLUDED), make_tx(two, contract, 2, Step.REVERTED, mode="batch"),
    ]  # fmt: skip

    for query, found in (
        ({"signer": str(one.id)}, [0, 1]), ({"step": "stuck"}, [1]), ({"step": "open"}, [1, 2]),
        ({"step": "open", "signer": str(two.id)}, [2]), ({"mode": "batch"}, [3]), ({"step": "final"}, [0]),
        ({"step": "open", "mode": "anchor"}, [1]), ({}, [0, 1, 2, 3]),
    ):  # fmt: skip
        assert shown(listing(root, "transaction", **query), rows) == [rows[n] for n in found], query


def test_a_transaction_is_found_by_its_ids(root: Client, signer: Signer, contract: Contract) -> None:
    rows = [make_tx(signer, contract, nonce) for nonce in (41, 42, 43)]
    attempt = make_attempt(rows[1])
    job = make_confirmation(signer, contract, rows[1])

    for term in (str(rows[1].id), "42", "0x" + bytes(attempt.hash).hex(), bytes(attempt.hash).hex(), str(job.id)):
        assert shown(listing(root, "transaction", q=term), rows) == [rows[1]], term
    assert shown(listing(root, "transaction", q=str(uuid7())), rows) == []


def test_a_stuck_transaction_is_listed_however_old_it_is(
    root: Client, signer: Signer, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobplatform.backoffice import bounded

    monkeypatch.setattr(bounded, "WINDOW", 3)
    stuck = make_tx(signer, contract, 1, Step.STUCK)
    for nonce in range(2, 8):
        make_tx(signer, contract, nonce, Step.FINAL)

    assert shown(listing(root, "transaction"), [stuck]) == []
    assert shown(listing(root, "transaction", step="stuck"), [stuck]) == [stuck]
    assert shown(listing(root, "transaction", q="1"), [stuck]) == [stuck]


# ------------------------------------------------------------------------------------------------ confirmations
def test_the_page_of_a_confirmation_says_where_it_stands(root: Client, signer: Signer, contract: Contract) -> None:
    tx = make_tx(signer, contract, 8, Step.FINAL, tx_hash=b"\x08" * 32, block_number=1_111)
    row = make_confirmation(signer, contract, tx, standing=Standing.CONFIRMED, confirmed_at=timezone.now())
    elsewhere = make_confirmation(
        signer, contract, tx, standing=Standing.CONFIRMED, tx_hash=b"\x09" * 32, block_number=2_222
    )
    waiting = make_confirmation(signer, contract, standing=Standing.BLOCKED, reason="reverted")

    page = page_of(root, row)

    assert shown(page, [tx, signer, contract]) == [tx, signer, contract]
    assert reverse("admin:jobs_job_change", args=(row.id,)) in page
    for part in ("0x" + "ab" * 32, "0x" + "08" * 32, "1,111", "nonce 8", "order.book"):
        assert part in text_of(page), part
    assert "0x" + "09" * 32 in text_of(page_of(root, elsewhere))
    assert "2,222" in text_of(page_of(root, elsewhere))
    assert "reverted" in text_of(page_of(root, waiting))


def test_the_page_of_an_anchored_result_shows_its_way_to_the_root(
    root: Client, signer: Signer, contract: Contract
) -> None:
    jobs = [make_job(confirm="anchor") for _ in range(3)]
    leaves = [merkle.leaf(job_bytes(job.id), b"\xab" * 32) for job in jobs]
    tree = merkle.tree(leaves)
    tx = make_tx(signer, contract, 8, Step.FINAL, mode="anchor", count=3, tx_hash=b"\x08" * 32, block_number=1_111)
    Anchor.objects.create(transaction=tx, root=tree.root, leaves=tree.leaves, nodes=tree.nodes)
    attempt = make_attempt(tx, state=Try.MINED)
    rows = [
        make_confirmation(signer, contract, tx, id=job.id, project_id=job.project_id, mode="anchor", position=n)
        for n, job in enumerate(jobs)
    ]

    page = page_of(root, rows[1])

    text = " ".join(text_of(page).split())
    for found in (leaves[1], leaves[0], leaves[2], tree.root, bytes(attempt.hash)):
        assert "0x" + found.hex() in text
    assert "Leaf 2 of 3" in text
    assert f'href="/api/v1/jobs/{jobs[1].id}/proof?project={jobs[1].project_id}"' in page


def test_confirmations_are_filtered_and_found(root: Client, signer: Signer, contract: Contract) -> None:
    tx = make_tx(signer, contract, 8)
    attempt = make_attempt(tx)
    here = make_job().project_id  # a project with a shelf
    rows = [
        make_confirmation(signer, contract, project_id=here),
        make_confirmation(signer, contract, tx, mode="batch", project_id=here),
        make_confirmation(signer, contract, mode="batch", standing=Standing.BLOCKED, project_id=here),
        make_confirmation(signer, contract, standing=Standing.CONFIRMED),
    ]

    for query, found in (
        ({"standing": "waiting"}, [0]), ({"standing": "blocked"}, [2]), ({"standing": "confirmed"}, [3]),
        ({"mode": "batch"}, [1, 2]), ({"standing": "blocked", "mode": "single"}, []), ({"project": str(here)}, [0, 1, 2]),
        ({"standing": "sent", "project": str(here), "mode": "batch"}, [1]), ({"project": str(PROJECT)}, [3]),
        ({"q": str(rows[2].id)}, [2]), ({"q": str(tx.id)}, [1]), ({"q": "0x" + bytes(attempt.hash).hex()}, [1]),
        ({"q": "order"}, []), ({}, [0, 1, 2, 3]),
    ):  # fmt: skip
        assert shown(listing(root, "confirmation", **query), rows) == [rows[n] for n in found], query


def test_the_page_of_a_job_shows_its_confirmation(root: Client, signer: Signer, contract: Contract) -> None:
    job, other, early = make_job(confirm="batch"), make_job(), make_job(confirm="single")
    tx = make_tx(signer, contract, 8, Step.INCLUDED, block_number=1_111, tx_hash=b"\x08" * 32)
    row = make_confirmation(signer, contract, tx, id=job.id, project_id=job.project_id, mode="batch")
    asked = ask("confirmation", row.id)

    page = root.get(reverse("admin:jobs_job_change", args=(job.id,))).content.decode()

    assert shown(page, [row, tx]) == [row, tx]
    for part in ("batch", "included", "0x" + "ab" * 32, "1,111"):
        assert part in text_of(page), part
    assert address(row) not in root.get(reverse("admin:jobs_job_change", args=(other.id,))).content.decode()
    assert f'href="/api/v1/jobs/{job.id}/proof?project={job.project_id}"' in page
    page = root.get(reverse("admin:jobs_job_change", args=(early.id,))).content.decode()
    assert "not asked for yet" in text_of(page)
    page = root.get(reverse("admin:jobs_intervention_change", args=(asked.id,))).content.decode()
    assert address(row) in page
    assert "confirmation" in extensions.page_sections  # and what is asked of each job of a list stays as it is
    assert "confirmation" not in extensions.job_sections
