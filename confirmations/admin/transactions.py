"""Transactions in the admin: one nonce of a signer, the attempts at it, and the jobs that it confirms."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter
from unfold.decorators import display

from confirmations.admin import figures, looks, pages
from confirmations.admin.listing import ChainAdmin, ModeFilter, WordFilter, sent_as
from confirmations.models import Anchor, Attempt, Confirmation, Signer, Transaction
from confirmations.states import OPEN, Step
from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.bounded import MOST_ROWS
from jobplatform.backoffice.filters import uuid_of

ALL_OPEN = "open"
LONGEST_NONCE = 18
"""Digits: more are no number of the column."""


class SignerFilter(DropdownFilter):  # type: ignore[misc] # unfold has no types
    """By signer."""

    title = parameter_name = "signer"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """All signers with their networks."""
        found = Signer.objects.select_related("network").order_by("network_id", "id")
        return [(str(row.id), f"{row} on {row.network.name}") for row in found[:MOST_ROWS]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Transaction]) -> QuerySet[Transaction]:
        """Transactions of the chosen signer."""
        value = self.value()
        if not value:
            return queryset
        found = uuid_of(value)
        if found is None:
            raise IncorrectLookupParameters
        return queryset.filter(signer_id=found)


class StepFilter(WordFilter):
    """By step, or all that have not ended."""

    title = parameter_name = "step"
    words = Step

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """What is open, and each step."""
        return [(ALL_OPEN, "open: not ended yet"), *super().lookups(request, model_admin)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Transaction]) -> QuerySet[Transaction]:
        """Transactions in the chosen step."""
        return queryset.filter(step__in=OPEN) if self.value() == ALL_OPEN else super().queryset(request, queryset)


@admin.register(Transaction)
class TransactionAdmin(ChainAdmin):
    """Transactions, newest first. What can be done about one is done to its intervention."""

    list_display = ["nonce_of", "state", "signer_of", "mode", "jobs", "attempts", "created", "block", "network"]
    list_display_links = ["nonce_of"]
    list_filter = [SignerFilter, StepFilter, ModeFilter]
    search_fields = ["id"]
    search_help_text = "Id, nonce, hash of an attempt, or id of a job"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Transaction]:
        """With their signers and contracts, without the calls."""
        rows: QuerySet[Transaction] = super().get_queryset(request)
        return rows.defer("data").select_related("signer", "contract__network")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Transaction], search_term: str
    ) -> tuple[QuerySet[Transaction], bool]:
        """What is no id, hash or nonce is found nowhere."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.isascii() and term.isdecimal() and len(term) <= LONGEST_NONCE:
            return queryset.filter(nonce=int(term), signer_id__in=Signer.objects.values("id")), False
        if (sent := sent_as(term)) is not None:
            return queryset.filter(id__in=sent), False
        if found := uuid_of(term):
            of_job = Confirmation.objects.filter(id=found).values("transaction_id")
            return queryset.filter(Q(id=found) | Q(id__in=of_job)), False
        return queryset.none(), False

    def among(self, rows: QuerySet[Any], chosen: dict[str, Any]) -> QuerySet[Any] | None:
        """What has not ended has an index of its own."""
        step = chosen["step"]
        if step != ALL_OPEN and step not in list(OPEN):
            return None
        steps = OPEN if step == ALL_OPEN else [step]
        found = Transaction.objects.filter(step__in=OPEN).filter(step__in=steps)
        if signer := uuid_of(chosen["signer"] or ""):
            found = found.filter(signer_id=signer)
        return rows.filter(id__in=found.order_by("signer_id", "nonce").values("id")[: MOST_ROWS + 1])

    def add_figures(self, rows: list[Any]) -> None:
        """How many attempts there are."""
        tried = figures.attempts([row.id for row in rows])
        for row in rows:
            row.tried = tried.get(row.id, 0)

    @display(description="Nonce")
    def nonce_of(self, row: Transaction) -> str:
        """Its place in the line of its signer."""
        return str(row.nonce)

    @display(description="Step")
    def state(self, row: Transaction) -> SafeString:
        """How it stands; below it why a person is asked."""
        return looks.two(looks.word(row.step, looks.STEP), markup.spoken(row.reason)[:64])

    @display(description="Signer")
    def signer_of(self, row: Transaction) -> SafeString:
        """Whose nonce."""
        return looks.short(row.signer.address)

    @display(description="Jobs")
    def jobs(self, row: Transaction) -> str:
        """How many it confirms."""
        return looks.number(row.count)

    @display(description="Attempts")
    def attempts(self, row: Any) -> str:
        """How often it was signed."""
        return looks.number(row.tried)

    @display(description="Age")
    def created(self, row: Transaction) -> SafeString:
        """Since when its nonce is given away."""
        return markup.moment(row.created_at)

    @display(description="Block")
    def block(self, row: Transaction) -> str:
        """In which block it stands."""
        return looks.number(row.block_number)

    @display(description="Network")
    def network(self, row: Transaction) -> str:
        """On which network."""
        return row.contract.network.name

    # -------------------------------------------------------------------------------------------- the page
    def page_of(self, request: HttpRequest, row: Any) -> pages.Page:
        """Its attempts and its jobs."""
        return pages.Page(
            noun="transaction",
            title=f"Nonce {row.nonce}",
            badge=looks.word(row.step, looks.STEP),
            key=str(row.id),
            reason=row.reason,
            facts=_facts(row),
            tables=[attempts_at(row.id), _jobs(row)],
        )


def _facts(row: Transaction) -> list[tuple[str, Any]]:
    root = Anchor.objects.filter(transaction_id=row.id).values_list("root", "leaves").first()
    offer = row.offer if isinstance(row.offer, dict) else {}
    return [
        ("Signer", subjects.link("signer", row.signer_id, str(row.signer))),
        ("Contract", subjects.link("contract", row.contract_id, str(row.contract))),
        ("Network", subjects.link("network", row.contract.network_id, str(row.contract.network))),
        ("Mode", row.mode),
        ("Jobs", looks.number(row.count)),
        ("Nonce given away", pages.at(row.created_at)),
        ("First taken by a node", pages.at(row.sent_at)),
        ("Transaction hash", looks.whole(row.tx_hash) if row.tx_hash is not None else None),
        ("Block", looks.number(row.block_number) if row.block_number is not None else None),
        ("Block hash", looks.whole(row.block_hash) if row.block_hash is not None else None),
        ("Gas used", looks.number(row.gas_used) if row.gas_used is not None else None),
        ("Root", looks.whole(root[0]) if root else None),
        ("Leaves", looks.number(root[1]) if root else None),
        ("The next attempt", "uses up the nonce, and calls nothing" if row.frees else None),
        ("The next attempt offers", _offered(offer.get("tip"), offer.get("fee")) if offer else None),
        ("Its nonce was used unseen at", looks.number(row.silent_since) if row.silent_since is not None else None),
    ]


def _offered(tip: Any, fee: Any) -> str:
    shown = [looks.gwei(value) if isinstance(value, int) else markup.NOTHING for value in (fee, tip)]
    return f"{shown[0]} gwei, a tip of {shown[1]} in it"


def attempts_at(transaction_id: UUID) -> pages.Table:
    """What was signed at a nonce, the newest first."""
    found = list(Attempt.objects.filter(transaction_id=transaction_id).defer("raw").order_by("-number")[: pages.MOST])
    return pages.Table(
        title="Attempts",
        heads=("No", "Hash and reply", "State", "Gwei per gas", "Gas", "Sent", "Signed"),
        rows=[
            (
                one.number,
                _hash_and_reply(one),
                looks.word(one.state, looks.TRY),
                looks.two(looks.gwei(one.fee), f"tip {looks.gwei(one.tip)}"),
                looks.number(one.gas),
                _sent(one),
                markup.moment(one.signed_at),
            )
            for one in found
        ],
        empty="Nothing is signed yet.",
        note=f"The latest {pages.MOST}." if len(found) == pages.MOST else "",
    )


def _sent(one: Attempt) -> SafeString:
    """How often, and when at last."""
    times = "once" if one.sends == 1 else f"{looks.number(one.sends)} times" if one.sends else "never"
    return looks.two(times, markup.moment(one.sent_at) if one.sends else "")


def _hash_and_reply(one: Attempt) -> SafeString:
    """The hash; below it what it is for, where that is not the call, and what the node said."""
    said = ": ".join(text for text in (markup.spoken(one.reply), markup.visible(one.said)) if text)
    below = " · ".join(text for text in ("uses up the nonce" if one.frees else "", said) if text)
    note = format_html('<small class="jp-soft">{}</small>', below) if below else ""
    return format_html('<span class="jp-two"><span>{}</span>{}</span>', looks.whole(one.hash), note)


def _jobs(row: Transaction) -> pages.Table:
    found = list(Confirmation.objects.filter(transaction_id=row.id).order_by("position")[: pages.MOST])
    projects = subjects.projects() if found else {}
    address = f"{reverse('admin:confirmations_confirmation_changelist')}?q={row.id}"
    return pages.Table(
        title="Jobs",
        heads=("Position", "Job", "Kind", "Project", "Standing", "Result hash", "Confirmation"),
        rows=[
            (
                one.position,
                subjects.link("job", one.id),
                markup.visible(one.kind),
                subjects.link("project", one.project_id, projects.get(one.project_id, "")),
                looks.word(one.standing, looks.STANDING),
                looks.short(one.result_hash),
                subjects.link("confirmation", one.id, "open"),
            )
            for one in found
        ],
        empty="It confirms no job (any more).",
        note=format_html('The first {}. <a class="jp-link" href="{}">All</a>', len(found), address) if found else "",
    )
