"""Signers in the admin: whether each signs, its line of nonces, how long its balance lasts; pause and resume."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from confirmations import selectors
from confirmations.admin import duty, figures, looks, pages
from confirmations.admin.listing import ChainAdmin, Digits, WordFilter, digits_of
from confirmations.models import Signer, Transaction
from confirmations.states import Duty
from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.filters import uuid_of


class DutyFilter(WordFilter):
    """By duty."""

    title = parameter_name = "duty"
    words = Duty


@admin.register(Signer)
class SignerAdmin(ChainAdmin):
    """Signers: looked at, paused and resumed."""

    list_display = ["signer", "network_name", "state", "next", "open", "oldest", "ether", "runway"]
    list_display_links = ["signer"]
    list_select_related = ["network"]
    list_filter = [DutyFilter]
    search_fields = ["id"]
    search_help_text = "Id, a part of the address, of the key's name or of the reason"

    def get_urls(self) -> list[URLPattern]:
        """The acts beside Django's own addresses."""
        view = self.admin_site.admin_view(self._act)
        own = [
            path(f"<uuid:signer_id>/{act}/", view, {"act": act}, name=f"confirmations_signer_{act}")
            for act in duty.ACTS
        ]
        return [*own, *super().get_urls()]

    def _act(self, request: HttpRequest, signer_id: UUID, act: str) -> HttpResponse:
        return duty.change(self, request, act, signer_id)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Signer], search_term: str
    ) -> tuple[QuerySet[Signer], bool]:
        """By id, or by parts of what is written on them."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if found := uuid_of(term):
            return queryset.filter(id=found), False
        named = Q(key__icontains=term) | Q(reason__icontains=term) | Q(digits__contains=digits_of(term))
        return queryset.annotate(digits=Digits("address")).filter(named), False

    def add_figures(self, rows: list[Any]) -> None:
        """Open nonces, and the mean cost of a transaction."""
        ids = [row.id for row in rows]
        lines, costs = figures.lines(ids), figures.costs(ids)
        for row in rows:
            row.line, row.cost = lines[row.id], costs.get(row.id)

    @display(description="Signer")
    def signer(self, row: Any) -> SafeString:
        """Its address."""
        return looks.short(row.address)

    @display(description="Network")
    def network_name(self, row: Signer) -> SafeString:
        """On which network."""
        return subjects.link("network", row.network_id, row.network.name)

    @display(description="Duty")
    def state(self, row: Signer) -> SafeString:
        """Whether it signs; below it why not."""
        return looks.two(looks.word(row.duty, looks.DUTY), markup.spoken(row.reason)[:64])

    @display(description="Next nonce")
    def next(self, row: Signer) -> str:
        """The one that it gives away next."""
        return looks.number(row.next_nonce)

    @display(description="Open nonces")
    def open(self, row: Any) -> str:
        """Given away and not final."""
        return looks.number(row.line.open)

    @display(description="Oldest open")
    def oldest(self, row: Any) -> SafeString:
        """Since when the first of them waits."""
        return markup.moment(row.line.since)

    @display(description="Balance (ether)")
    def ether(self, row: Any) -> str:
        """What it has."""
        return looks.ether(row.balance)

    @display(description="Runway (transactions)")
    def runway(self, row: Any) -> str:
        """How many transactions of the last day's mean cost, at most, the balance pays."""
        return looks.number(figures.runway(row.balance, row.cost))

    # -------------------------------------------------------------------------------------------- the page
    def page_of(self, request: HttpRequest, row: Any) -> pages.Page:
        """Its nonces, what waits for it, and how it stands."""
        self.add_figures([row])
        return pages.Page(
            noun="signer",
            title=f"Signer on {row.network.name}",
            badge=looks.word(row.duty, looks.DUTY),
            key=str(row),
            reason=row.reason,
            facts=_facts(row),
            tables=[_waiting(row), _nonces(row)],
            buttons=duty.buttons(request, row),
        )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Signer]:
        """With their networks."""
        rows: QuerySet[Signer] = super().get_queryset(request).select_related("network")
        return rows


def _facts(row: Any) -> list[tuple[str, Any]]:
    runway = figures.runway(row.balance, row.cost)
    steps = ", ".join(f"{number} {step}" for step, number in row.line.steps.items())
    first = row.next_nonce if row.line.first is None else row.line.first
    return [
        ("Id", looks.key(row.id)),
        ("Network", subjects.link("network", row.network_id, str(row.network))),
        ("Key", f"{row.backend}: {markup.visible(row.key)}" if row.key else row.backend),
        ("Next nonce", looks.number(row.next_nonce)),
        ("The chain expects next", looks.number(row.mined_nonce)),
        ("Open nonces", f"{looks.number(row.line.open)} ({steps})" if steps else "0"),
        ("All have ended below", looks.number(first)),
        ("Oldest open", pages.at(row.line.since)),
        ("Balance", markup.NOTHING if row.balance is None else f"{looks.ether(row.balance)} ether"),
        ("Mean cost, last day", None if row.cost is None else f"{looks.ether(row.cost)} ether at most"),
        ("Runway", None if runway is None else f"{looks.number(runway)} transactions at least"),
        ("Looked up", pages.at(row.seen_at)),
    ]


def _waiting(row: Signer) -> pages.Table:
    heaps = selectors.heaps(row.id)
    return pages.Table(
        title="Waiting for a transaction",
        heads=("Mode", "Jobs", "Contract", "Since"),
        rows=[
            (
                heap.mode,
                looks.number(heap.number),
                subjects.link("contract", heap.contract_id),
                markup.moment(heap.since),
            )
            for heap in heaps
        ],
        empty="Nothing waits.",
    )


def _nonces(row: Signer) -> pages.Table:
    found = list(Transaction.objects.filter(signer_id=row.id).defer("data").order_by("-nonce")[: pages.MOST])
    tried = figures.attempts([one.id for one in found])
    address = f"{reverse('admin:confirmations_transaction_changelist')}?signer={row.id}"
    note = format_html('The latest {}. <a class="jp-link" href="{}">All</a>', len(found), address)
    return pages.Table(
        title="Line of nonces",
        heads=("Nonce", "Step", "Mode", "Jobs", "Attempts", "Age", "Block", "Reason"),
        rows=[
            (
                subjects.link("transaction", one.id, str(one.nonce)),
                looks.word(one.step, looks.STEP),
                one.mode,
                looks.number(one.count),
                looks.number(tried.get(one.id, 0)),
                markup.moment(one.created_at),
                looks.number(one.block_number),
                markup.spoken(one.reason),
            )
            for one in found
        ],
        empty="It has given away no nonce.",
        note=note if found else "",
    )
