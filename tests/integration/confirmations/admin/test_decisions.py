"""Interventions about what is on its way to the chain: foreseen, decided once, by whom may."""

import json

import pytest
from django.test import Client
from django.urls import reverse
from uuid_utils.compat import uuid7

from confirmations.models import (
    Contract,
    Signer,
)
from confirmations.services.asked import ACTIONS
from confirmations.states import Standing, Step, Try
from events.models import AuditRecord
from jobs.models import Intervention
from tests.corpora.markup import text_of
from tests.integration.confirmations.admin.conftest import (
    GWEI,
    address,
    ask,
    decision,
    make_attempt,
    make_confirmation,
    make_tx,
    said,
)

pytestmark = pytest.mark.django_db


# ------------------------------------------------------------------------------------------------ decisions
def test_a_decision_about_a_transaction_is_foreseen_and_taken(
    operator: Client, signer: Signer, contract: Contract
) -> None:
    tx = make_tx(signer, contract, 8, Step.STUCK)
    make_attempt(tx, state=Try.REFUSED)
    asked = ask("transaction", tx.id)
    page = operator.get(reverse("admin:jobs_intervention_change", args=(asked.id,))).content.decode()
    assert address(tx) in page
    for name in ACTIONS["transaction"]:
        assert decision(asked, name) in page

    first = operator.get(decision(asked, "bump")).content.decode()
    assert "A bump wants {" in text_of(first)
    low = {"payload": '{"fee_gwei": 21, "tip_gwei": 1}', "reason": "", "foresee": "1"}
    assert "A replacement offers an eighth more" in text_of(
        operator.post(decision(asked, "bump"), low).content.decode()
    )
    high = low | {"payload": '{"fee_gwei": 30, "tip_gwei": 2}'}
    assert '"step": "signed"' in text_of(operator.post(decision(asked, "bump"), high).content.decode())
    tx.refresh_from_db()
    assert (tx.step, Intervention.objects.get().resolved_at) == (Step.STUCK, None)

    high = {"payload": high["payload"], "reason": "it is urgent"}
    operator.post(decision(asked, "bump"), high)

    tx.refresh_from_db()
    asked.refresh_from_db()
    assert (tx.step, tx.offer) == (Step.SIGNED, {"tip": 2 * GWEI, "fee": 30 * GWEI})
    assert (asked.action, asked.resolved_by) == ("bump", "user:olga")
    assert AuditRecord.objects.get().action == "transaction.bump"
    assert "decided already" in said(operator.post(decision(asked, "bump"), high))


def test_a_decision_shows_the_evidence_and_begins_with_an_offer_that_would_do(
    operator: Client, signer: Signer, contract: Contract
) -> None:
    tx = make_tx(signer, contract, 8, Step.STUCK)
    make_attempt(tx, state=Try.REFUSED, tip=3 * GWEI, fee=20 * GWEI)
    asked = ask("transaction", tx.id, "refused_too_often")

    answer = operator.get(decision(asked, "bump"))
    text = " ".join(text_of(answer.content.decode()).split())
    offered = answer.context["form"].initial["payload"]

    assert "Evidence: said no" in text
    assert "refused too often" in text
    assert "transaction nonce 8" in text
    assert json.loads(offered) == {"fee_gwei": 22.5, "tip_gwei": 3.375}
    seen = operator.post(decision(asked, "bump"), {"payload": offered, "reason": "", "foresee": "1"})
    assert '"fee": 22.5' in text_of(seen.content.decode())


def test_who_may_not_decide_reads_what_could_be_decided_and_finds_no_way_there(
    viewer: Client, operator: Client, signer: Signer, contract: Contract
) -> None:
    asked = ask("transaction", make_tx(signer, contract, 8, Step.STUCK).id)
    page = reverse("admin:jobs_intervention_change", args=(asked.id,))

    for client, expected in ((viewer, False), (operator, True)):
        shown = client.get(page).content.decode()
        assert "Use up the nonce" in text_of(shown)
        for name in ACTIONS["transaction"]:
            assert (decision(asked, name) in shown) is expected


def test_what_needs_no_value_shows_at_once_what_it_would_do(
    operator: Client, signer: Signer, contract: Contract
) -> None:
    asked = ask("transaction", make_tx(signer, contract, 8, Step.STUCK, count=3).id)

    assert '"jobs_that_wait_again": 3' in text_of(operator.get(decision(asked, "free")).content.decode())


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        ("{", "This is not JSON"), ("[]", "is a JSON object"), ("{}", "A bump wants"), ("", "required"),
        ('{"fee_gwei": 30, "tip_gwei": 2, "x": "\\u0000"}', "NUL character"),
        ('{"fee_gwei": 30, "tip_gwei": 2, "x": "\\ud800"}', "Not a JSON value"),
        ('{"fee_gwei": 30, "tip_gwei": 2, "x": 1e999}', "offers an eighth more"),
        ('{"fee_gwei": 1e400, "tip_gwei": 2}', "A bump wants"), ('{"fee_gwei": null, "tip_gwei": {}}', "A bump wants"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused_beside_its_field(
    operator: Client, signer: Signer, contract: Contract, payload: str, complaint: str
) -> None:
    tx = make_tx(signer, contract, 8, Step.STUCK)
    make_attempt(tx, state=Try.REFUSED, fee=40 * GWEI)
    asked = ask("transaction", tx.id)

    answer = operator.post(decision(asked, "bump"), {"payload": payload, "reason": "because"})

    assert complaint in text_of(answer.content.decode())
    assert Intervention.objects.get().resolved_at is None


def test_every_subject_is_decided_from_its_intervention(operator: Client, signer: Signer, contract: Contract) -> None:
    row = make_confirmation(signer, contract, standing=Standing.BLOCKED, reason="reverted")
    again, seen = ask("confirmation", row.id, "reverted"), ask("contract", contract.id, "logs_were_missed")

    assert operator.get(decision(again, "external")).status_code == 200
    operator.post(decision(again, "retry"), {"reason": "the contract was mended"})
    operator.post(decision(seen, "acknowledge"), {"reason": "seen"})

    row.refresh_from_db()
    assert row.standing == Standing.WAITING
    assert Intervention.objects.filter(resolved_at=None).count() == 0


def test_a_decision_about_what_is_gone_or_goes_on_says_so(operator: Client, signer: Signer, contract: Contract) -> None:
    sent = ask("transaction", make_tx(signer, contract, 8, Step.SENT).id)
    for asked, words in (
        (sent, "there is nothing to decide"),
        (ask("transaction", uuid7()), "is there no longer"),
        (ask("transaction", "nothing"), "is there no longer"),
    ):
        for answer in (
            operator.get(decision(asked, "retry")),
            operator.post(decision(asked, "retry"), {"reason": "because"}),
        ):
            assert words in text_of(answer.content.decode())


def test_who_may_not_repair_decides_nothing(viewer: Client, stranger: Client, signer: Signer) -> None:
    asked = ask("signer", signer.id)

    for client in (viewer, stranger):
        assert client.get(decision(asked, "resume")).status_code == 403
        assert client.post(decision(asked, "resume"), {"reason": "because"}).status_code == 403
    assert Intervention.objects.get().resolved_at is None


def test_what_is_not_asked_cannot_be_decided(operator: Client, signer: Signer) -> None:
    asked = ask("signer", signer.id)
    of_job = Intervention.objects.create(
        id=uuid7(), subject_type="job", subject_id=str(uuid7()), reason="x", actions=["retry"]
    )

    for row, action in ((asked, "free"), (asked, "nonsense"), (of_job, "retry"), (Intervention(id=uuid7()), "retry")):
        assert operator.get(decision(row, action)).status_code == 404
