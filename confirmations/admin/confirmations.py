"""Confirmations in the admin, and what the page of a job says of its own."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db import connection
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from confirmations import merkle, selectors
from confirmations.admin import looks, pages
from confirmations.admin.listing import ChainAdmin, ModeFilter, WordFilter, sent_as
from confirmations.admin.transactions import attempts_at
from confirmations.errors import ConfirmationNotFound
from confirmations.models import Confirmation
from confirmations.states import Mode, Standing
from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.bounded import MOST_ROWS
from jobplatform.backoffice.filters import ProjectFilter, uuid_of
from jobs import extensions
from jobs.models import Job

# The newest of each project that stand so: the partial index holds all but those that are confirmed. The standing is
# written out, so that every plan sees that it is one of them; it is a name of our own enumeration.
_STANDING = """
select found.id
from (select distinct project_id from jobs_shelf where %s::uuid is null or project_id = %s::uuid) wanted
cross join lateral (
    select id from confirmations_confirmation
    where project_id = wanted.project_id and standing <> 'confirmed' and standing = '{standing}'
      and (%s::text is null or mode = %s::text)
    order by project_id desc, standing desc, id desc limit %s
) found
order by found.id desc limit %s
"""


class StandingFilter(WordFilter):
    """By standing."""

    title = parameter_name = "standing"
    words = Standing


@admin.register(Confirmation)
class ConfirmationAdmin(ChainAdmin):
    """Confirmations, newest first. What can be done about one is done to its intervention."""

    list_display = ["kind_of", "state", "project", "mode", "transaction_of", "block", "asked", "confirmed"]
    list_display_links = ["kind_of"]
    list_filter = [StandingFilter, ModeFilter, ProjectFilter]
    search_fields = ["id"]
    search_help_text = "Id of a job or of a transaction, or hash of one"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Confirmation]:
        """With their transactions, without the calls of these."""
        rows: QuerySet[Confirmation] = super().get_queryset(request)
        return rows.select_related("contract__network", "signer", "transaction").defer("transaction__data")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Confirmation], search_term: str
    ) -> tuple[QuerySet[Confirmation], bool]:
        """What is no id and no hash is found nowhere."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if (sent := sent_as(term)) is not None:
            return queryset.filter(transaction_id__in=sent), False
        if found := uuid_of(term):
            return queryset.filter(Q(id=found) | Q(transaction_id=found)), False
        return queryset.none(), False

    def among(self, rows: QuerySet[Any], chosen: dict[str, Any]) -> QuerySet[Any] | None:
        """What is not confirmed has an index of its own."""
        standing = chosen["standing"]
        if standing not in list(Standing) or standing == Standing.CONFIRMED:
            return None
        project, mode, most = uuid_of(chosen["project"] or ""), chosen["mode"] or None, MOST_ROWS + 1
        with connection.cursor() as cursor:
            cursor.execute(
                _STANDING.format(standing=Standing(standing).value), (project, project, mode, mode, most, most)
            )
            found: list[UUID] = [row[0] for row in cursor.fetchall()]
        return rows.filter(id__in=found)

    @display(description="Job")
    def kind_of(self, row: Confirmation) -> SafeString:
        """Kind and id."""
        return format_html(
            '<span class="jp-two"><b>{}</b><small class="jp-id">{}</small></span>', markup.visible(row.kind), row.id
        )

    @display(description="Standing")
    def state(self, row: Confirmation) -> SafeString:
        """How it stands; below it why a person is asked."""
        return looks.two(looks.word(row.standing, looks.STANDING), markup.spoken(row.reason)[:64])

    @display(description="Project")
    def project(self, row: Confirmation) -> SafeString:
        """Whose it is."""
        return subjects.project_of(row)

    @display(description="Transaction")
    def transaction_of(self, row: Confirmation) -> SafeString | str:
        """The nonce, and how that stands."""
        return _transaction(row) or markup.NOTHING

    @display(description="Block")
    def block(self, row: Confirmation) -> str:
        """Where it stands on chain."""
        return looks.number(_block(row))

    @display(description="Asked")
    def asked(self, row: Confirmation) -> SafeString:
        """When its job was done."""
        return markup.moment(row.asked_at)

    @display(description="Confirmed")
    def confirmed(self, row: Confirmation) -> SafeString:
        """When that was final."""
        return markup.moment(row.confirmed_at)

    # -------------------------------------------------------------------------------------------- the page
    def page_of(self, request: HttpRequest, row: Any) -> pages.Page:
        """What it is, and where it stands on chain."""
        return pages.Page(
            noun="confirmation",
            title=f"Confirmation of {markup.visible(row.kind)}",
            badge=looks.word(row.standing, looks.STANDING),
            key=str(row.id),
            reason=row.reason,
            facts=[
                ("Job", subjects.link("job", row.id)),
                ("Project", subjects.project_of(row)),
                ("Mode", row.mode),
                ("Result hash", looks.whole(row.result_hash)),
                ("Signer", subjects.link("signer", row.signer_id, str(row.signer))),
                ("Contract", subjects.link("contract", row.contract_id, str(row.contract))),
                ("Network", subjects.link("network", row.contract.network_id, str(row.contract.network))),
                ("Transaction", _transaction(row)),
                ("Transaction hash", looks.whole(_hash(row)) if _hash(row) is not None else None),
                ("Block", looks.number(_block(row)) if _block(row) is not None else None),
                ("Asked", pages.at(row.asked_at)),
                ("Confirmed", pages.at(row.confirmed_at)),
                ("Proof", _proof_link(row.project_id, row.id)),
            ],
            tables=list(_tables(row)),
        )


def _transaction(row: Confirmation) -> SafeString | None:
    if row.transaction is None:
        return None
    link = subjects.link("transaction", row.transaction.id, f"nonce {row.transaction.nonce}")
    return looks.two(link, row.transaction.step)


def _tables(row: Confirmation) -> Iterator[pages.Table]:
    """The attempts at its transaction, and how its leaf leads to the root that stands on chain."""
    if row.transaction is None:
        return
    yield attempts_at(row.transaction.id)
    if row.mode != Mode.ANCHOR:
        return
    try:
        proof = selectors.proof(row.project_id, row.id)
    except ConfirmationNotFound:  # its job was tidied away
        return
    if proof.root is None or proof.leaves is None or proof.position is None:
        return
    leaf = merkle.leaf(proof.job, proof.result_hash)
    between = [(f"+ {number}", found) for number, found in enumerate(proof.path, 1)]
    steps = [("leaf", leaf), *between, ("= root", proof.root)]
    yield pages.Table(
        title="Way to the root",
        heads=("Step", "Hash"),
        rows=[(name, looks.whole(found)) for name, found in steps],
        note=f"Leaf {proof.position + 1:,} of {proof.leaves:,}; the transaction's event RootAnchored has the root.",
    )


def _proof_link(project_id: UUID, job_id: UUID) -> SafeString:
    """To what a third party verifies."""
    address = reverse("confirmations:proof", args=(job_id,))
    return format_html('<a class="jp-link" href="{}?project={}">for a third party</a>', address, project_id)


def _hash(row: Confirmation) -> Any:
    """Of the transaction that confirmed it, which may be another than its own."""
    return row.tx_hash if row.tx_hash is not None or row.transaction is None else row.transaction.tx_hash


def _block(row: Confirmation) -> int | None:
    if row.block_number is not None or row.transaction is None:
        return row.block_number
    return row.transaction.block_number


# ---------------------------------------------------------------------------------------------- the page of a job
def of_job(job: Job) -> Mapping[str, Any] | None:
    """What the page of a job says of its confirmation; nothing where it has none."""
    if job.confirm is None:
        return None
    row = (
        Confirmation.objects.select_related("transaction")
        .defer("transaction__data")
        .filter(id=job.id, project_id=job.project_id)
        .first()
    )
    if row is None:
        return {"mode": job.confirm, "standing": "not asked for yet"}
    told: dict[str, Any] = {
        "confirmation": subjects.link("confirmation", row.id, "open"),
        "mode": row.mode,
        "standing": looks.word(row.standing, looks.STANDING),
        "transaction": _transaction(row),
        "block": looks.number(_block(row)),
        "result hash": looks.whole(row.result_hash),
        "transaction hash": looks.whole(_hash(row)),
        "proof": _proof_link(row.project_id, row.id),
    }
    return told | ({"reason": looks.reason(row.reason)} if row.reason else {})


extensions.page_sections.register("confirmation", of_job)
