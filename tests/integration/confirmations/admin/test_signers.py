"""Signers in the admin: their nonces and balances, and who has them sign or not."""

import datetime as dt

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from confirmations.models import (
    Contract,
    Network,
    Signer,
    Transaction,
)
from confirmations.states import Duty, Step, Try
from events.models import AuditRecord, Event
from jobs.models import Job
from tests.corpora.markup import text_of
from tests.integration.confirmations.admin.conftest import (
    GWEI,
    act,
    ask,
    decision,
    listing,
    make_attempt,
    make_confirmation,
    make_signer,
    make_tx,
    page_of,
    said,
    shown,
)

pytestmark = pytest.mark.django_db


# ------------------------------------------------------------------------------------------------ signers
def test_a_signer_is_listed_with_its_nonces_its_balance_and_its_runway(
    root: Client, signer: Signer, contract: Contract
) -> None:
    mined = make_tx(signer, contract, 6, Step.FINAL, tx_hash=b"\x06" * 32)
    make_attempt(mined, hash=b"\x06" * 32, state=Try.MINED)  # 50,000 gas for 20 gwei: 0.001 ether
    old = make_tx(signer, contract, 5, Step.FINAL, tx_hash=b"\x05" * 32)
    make_attempt(old, hash=b"\x05" * 32, fee=2_000 * GWEI, state=Try.MINED)
    Transaction.objects.filter(id=old.id).update(created_at=timezone.now() - dt.timedelta(days=2))
    for nonce, age in ((7, 300), (8, 60)):
        tx = make_tx(signer, contract, nonce)
        Transaction.objects.filter(id=tx.id).update(created_at=timezone.now() - dt.timedelta(seconds=age))

    seen = text_of(listing(root, "signer"))

    for part in ("0x01010101…0101", "anvil", "active", "5 min ago", "3,000"):
        assert part in seen, part
    text = text_of(page_of(root, signer))
    for part in (
        "0x" + "01" * 20, "2 (2 sent)", "3 ether", "0.001 ether at most", "3,000 transactions at least",
        "keystore: signer.json", "final",
    ):  # fmt: skip
        assert part in text, part


def test_a_signer_that_nobody_asked_about_has_no_runway(root: Client, network: Network) -> None:
    signer = make_signer(network, 2, balance=None, next_nonce=0)

    assert "Runway" not in text_of(page_of(root, signer))
    assert "It has given away no nonce." in page_of(root, signer)
    assert listing(root, "signer")


def test_signers_are_found_by_parts_of_what_is_written_on_them(root: Client, network: Network) -> None:
    rows = [make_signer(network, n, key=f"key-{n}", reason="resting" if n == 3 else "") for n in (1, 2, 3)]

    for term, found in (
        ("0x0202", [1]), ("020202", [1]), ("key-3", [2]), ("RESTING", [2]), (str(rows[0].id), [0]), ("nothing", []),
    ):  # fmt: skip
        assert shown(listing(root, "signer", q=term), rows) == [rows[n] for n in found], term


def test_signers_are_filtered_by_duty(root: Client, network: Network) -> None:
    rows = [make_signer(network, n, duty=duty) for n, duty in enumerate(Duty, 1)]

    for row in rows:
        assert shown(listing(root, "signer", duty=row.duty), rows) == [row]


def test_the_line_of_nonces_has_the_last_fifty(root: Client, signer: Signer, contract: Contract) -> None:
    rows = [make_tx(signer, contract, nonce, Step.FINAL) for nonce in range(60)]
    make_attempt(rows[59])
    make_attempt(rows[59], 2)

    page = page_of(root, signer)

    assert shown(page, rows) == rows[10:]
    assert f"?signer={signer.id}" in page


def test_what_waits_for_a_signer_stands_on_its_page(root: Client, signer: Signer, contract: Contract) -> None:
    for _ in range(3):
        make_confirmation(signer, contract, mode="batch")

    assert "batch 3" in " ".join(text_of(page_of(root, signer)).split())


# ------------------------------------------------------------------------------------------------ pause and resume
def test_an_operator_pauses_and_resumes_a_signer_with_a_reason(operator: Client, signer: Signer) -> None:
    page = page_of(operator, signer)
    assert act(signer, "pause") in page
    assert act(signer, "resume") not in page

    operator.post(act(signer, "pause"), {"reason": "its key is replaced"})

    signer.refresh_from_db()
    assert (signer.duty, signer.reason) == (Duty.PAUSED, "its key is replaced")
    assert Event.objects.get(subject_id=signer.id).type == "signer.paused"
    page = page_of(operator, signer)
    assert act(signer, "resume") in page
    assert "its key is replaced" in page
    assert "user:olga" in page

    operator.post(act(signer, "resume"), {"reason": "it is replaced"})

    signer.refresh_from_db()
    assert (signer.duty, signer.reason) == (Duty.ACTIVE, "")
    records = AuditRecord.objects.filter(subject_id=str(signer.id)).order_by("id")
    assert [(one.action, one.actor, one.reason) for one in records] == [
        ("signer.pause", "user:olga", "its key is replaced"),
        ("signer.resume", "user:olga", "it is replaced"),
    ]
    assert Job.objects.filter(kind="confirmation.send").count() == 1


def test_a_reason_is_wanted(operator: Client, signer: Signer) -> None:
    answer = operator.post(act(signer, "pause"), {"reason": ""})

    assert answer.status_code == 200
    signer.refresh_from_db()
    assert signer.duty == Duty.ACTIVE


def test_what_is_done_twice_is_done_once(operator: Client, signer: Signer) -> None:
    operator.post(act(signer, "pause"), {"reason": "once"})
    answer = operator.post(act(signer, "pause"), {"reason": "twice"})

    assert "there is nothing to pause" in said(answer)
    assert AuditRecord.objects.filter(subject_type="signer").count() == 1


def test_a_viewer_changes_no_duty(viewer: Client, signer: Signer) -> None:
    for name in ("pause", "resume"):
        assert act(signer, name) not in page_of(viewer, signer)
        assert viewer.get(act(signer, name)).status_code == 403
        assert viewer.post(act(signer, name), {"reason": "because"}).status_code == 403
    signer.refresh_from_db()
    assert signer.duty == Duty.ACTIVE


def test_a_signer_about_which_a_person_was_asked_is_resumed_by_deciding(operator: Client, signer: Signer) -> None:
    Signer.objects.update(duty=Duty.HALTED, reason="foreign_nonce", mined_nonce=12)
    asked = ask("signer", signer.id, "foreign_nonce")
    where = reverse("admin:jobs_intervention_change", args=(asked.id,))

    assert operator.post(act(signer, "resume"), {"reason": "because"}).headers["Location"] == where
    assert decision(asked, "resume") in operator.get(where).content.decode()
    operator.post(decision(asked, "resume"), {"reason": "it was us"})

    signer.refresh_from_db()
    asked.refresh_from_db()
    assert (signer.duty, signer.next_nonce) == (Duty.ACTIVE, 12)
    assert (asked.action, asked.resolved_by, asked.decision_reason) == ("resume", "user:olga", "it was us")


def test_a_halted_signer_is_not_paused(operator: Client, signer: Signer) -> None:
    Signer.objects.update(duty=Duty.HALTED)

    assert "there is nothing to pause" in said(operator.post(act(signer, "pause"), {"reason": "because"}))
