"""Contracts in the admin: up to which block their logs are read, without a gap, and who reads them."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from confirmations.admin import figures, looks, pages
from confirmations.admin.listing import ChainAdmin, Digits, digits_of
from confirmations.models import Contract, ScannedRange
from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.filters import uuid_of
from jobplatform.backoffice.markup import Look, badge

READ, FREE, RETIRED = Look("good", "sensors"), Look("bad", "sensors_off"), Look("off", "stop_circle")


@admin.register(Contract)
class ContractAdmin(ChainAdmin):
    """Contracts, with the ledger of what was read of them."""

    list_display = [
        "contract", "network_name", "state", "complete", "lag", "lease", "swept", "misses", "foreign",
    ]  # fmt: skip
    list_display_links = ["contract"]
    list_filter = ()
    search_fields = ["id"]
    search_help_text = "Id or a part of the address"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Contract]:
        """With their networks."""
        rows: QuerySet[Contract] = super().get_queryset(request).select_related("network")
        return rows

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Contract], search_term: str
    ) -> tuple[QuerySet[Contract], bool]:
        """By id, or by a part of the address."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if found := uuid_of(term):
            return queryset.filter(id=found), False
        return queryset.annotate(digits=Digits("address")).filter(digits__contains=digits_of(term)), False

    def add_figures(self, rows: list[Any]) -> None:
        """Up to which block they are read without a gap."""
        complete = figures.complete_to([row.id for row in rows])
        for row in rows:
            row.complete_to = complete.get(row.id)

    @display(description="Contract")
    def contract(self, row: Contract) -> SafeString:
        """Its address."""
        return looks.short(row.address)

    @display(description="Network")
    def network_name(self, row: Contract) -> SafeString:
        """On which network."""
        return subjects.link("network", row.network_id, row.network.name)

    @display(description="State")
    def state(self, row: Contract) -> SafeString:
        """Whether somebody reads it."""
        return _state(row)

    @display(description="Complete to")
    def complete(self, row: Any) -> str:
        """The block up to which every log was read."""
        return looks.number(row.complete_to)

    @display(description="Head lag")
    def lag(self, row: Any) -> str:
        """How many blocks behind the network's head that is."""
        return looks.number(_lag(row))

    @display(description="Read by")
    def lease(self, row: Contract) -> SafeString:
        """The job that reads it, and until when others keep out."""
        return _lease(row, "a job")

    @display(description="Swept to")
    def swept(self, row: Contract) -> str:
        """Final blocks up to here were read twice."""
        return looks.number(row.swept_to)

    @display(description="Missed logs")
    def misses(self, row: Contract) -> str:
        """Logs that were found only when blocks were read once more."""
        return looks.number(row.sweep_misses)

    @display(description="Strangers")
    def foreign(self, row: Contract) -> str:
        """Events of senders that are none of our signers."""
        return looks.number(row.strangers)

    # -------------------------------------------------------------------------------------------- the page
    def page_of(self, request: HttpRequest, row: Any) -> pages.Page:
        """The ledger."""
        self.add_figures([row])
        return pages.Page(
            noun="contract",
            title=f"Contract on {row.network.name}",
            badge=_state(row),
            key=str(row),
            lead=_lead(row),
            facts=[
                ("Id", looks.key(row.id)),
                ("Network", subjects.link("network", row.network_id, str(row.network))),
                ("Made in block", looks.number(row.deploy_block)),
                ("Complete to block", "not read yet" if row.complete_to is None else looks.number(row.complete_to)),
                ("Head", looks.number(row.network.head)),
                ("Head lag", "–" if _lag(row) is None else f"{looks.number(_lag(row))} blocks"),
                ("Final", looks.number(row.network.final)),
                ("Head seen", pages.at(row.network.seen_at)),
                ("Next block", looks.number(row.next_block)),
                ("Blocks at once", _span(row)),
                ("Read by", _lease(row)),
                ("Readers so far", looks.number(row.lease_no)),
                ("Swept to", looks.number(row.swept_to)),
                ("Missed logs", looks.number(row.sweep_misses)),
                ("Strangers", looks.number(row.strangers)),
            ],
            tables=[_ranges(row)],
        )


def _state(row: Contract) -> SafeString:
    if not row.active:
        return badge("retired", RETIRED)
    held = row.lease_by is not None and row.lease_until is not None and row.lease_until > timezone.now()
    return badge("read", READ) if held else badge("nobody reads", FREE)


def _lag(row: Any) -> int | None:
    """Blocks between the head and what is complete; None: no head is known."""
    if row.network.head is None:
        return None
    read = row.deploy_block - 1 if row.complete_to is None else row.complete_to
    return int(max(0, row.network.head - read))


def _lead(row: Any) -> str:
    """What the ledger says in one sentence."""
    if row.complete_to is None:
        return ""
    first, last = looks.number(row.deploy_block), looks.number(row.complete_to)
    behind = _lag(row)
    head = "" if behind is None else ", which is the head" if not behind else f", {looks.number(behind)} below the head"
    return f"Complete: every block from {first} to {last} was read{head}."


def _span(row: Contract) -> str:
    blocks, most = (row.span.get(name) if isinstance(row.span, dict) else None for name in ("blocks", "most"))
    if not isinstance(blocks, int) or not isinstance(most, int):
        return markup.brief(row.span, 60) or markup.NOTHING
    return f"{looks.number(blocks)} (at most {looks.number(most)})"


def _lease(row: Contract, name: str = "") -> SafeString:
    if row.lease_by is None:
        return looks.two("nobody", "")
    until = markup.moment(row.lease_until)
    told = until if name else format_html("its lease ends {}", until)
    return looks.two(subjects.link("job", row.lease_by, name), told)


def _ranges(row: Contract) -> pages.Table:
    """The newest ranges; of blocks between two of them nobody knows what they hold."""
    found = list(ScannedRange.objects.filter(contract_id=row.id).order_by("-first")[: pages.MOST + 1])
    before = [one.last for one in found[1:]]
    if len(found) <= pages.MOST:
        before.append(row.deploy_block - 1)
    return pages.Table(
        title="Scanned ranges",
        heads=("First", "Last", "Blocks", "Not read before it", "Read"),
        rows=[
            (
                looks.number(one.first),
                looks.number(one.last),
                looks.number(one.last - one.first + 1),
                looks.number(max(0, one.first - end - 1)),
                markup.moment(one.read_at),
            )
            for one, end in zip(found[: pages.MOST], before, strict=False)
        ],
        empty="Nothing was read yet.",
        note=f"The latest {pages.MOST}." if len(found) > pages.MOST else "",
    )
