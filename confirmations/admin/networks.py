"""Networks in the admin: how results go on them, which operators may change, each change with its reason."""

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from confirmations.admin import looks
from confirmations.models import Network
from events import audit
from jobplatform.backoffice import markup
from jobplatform.backoffice.readonly import PlatformAdmin
from jobplatform.backoffice.reasons import ReasonForm, actor_of

GWEI = 10**9
HIGHEST = Decimal(9 * 10**9)
"""Gwei: what the column holds in wei."""
LONGEST = 86_400.0

FEES = ("least_tip", "fee_cap")
BOUNDS: dict[str, tuple[float, float]] = {
    "depth": (1, 100_000),
    "block_seconds": (0.01, 3_600),
    "in_flight": (1, 10_000),
    "bump_seconds": (1, LONGEST),
    "batch_size": (1, 1_000),
    "batch_seconds": (0, LONGEST),
    "anchor_size": (1, 1_000_000),
    "anchor_seconds": (0, LONGEST),
}
"""What a network works with: least and most of each."""
EDITED = ("finality", "depth", "block_seconds", *FEES, *list(BOUNDS)[2:])

_HELP = {
    "finality": "When a block counts as final: by blocks on top of it, or by the chain's own word.",
    "depth": "Blocks on top, where the finality is depth.",
    "block_seconds": "Seconds between two blocks.",
    "least_tip": "Gwei per gas; no attempt offers less.",
    "fee_cap": "Gwei per gas; no attempt offers more. What would cost more waits.",
    "in_flight": "Unmined transactions of one signer at once.",
    "bump_seconds": "Unmined for so long: the same nonce with higher fees.",
    "batch_size": "Jobs of one transaction at most.",
    "batch_seconds": "Seconds for which a job waits for others to share its transaction.",
    "anchor_size": "Jobs of one Merkle tree at most.",
    "anchor_seconds": "Seconds for which a job waits for others to share its tree.",
}


def _fee() -> forms.DecimalField:
    widget = UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"})
    return forms.DecimalField(min_value=0, max_value=HIGHEST, max_digits=19, decimal_places=9, widget=widget)


class NetworkForm(ReasonForm, forms.ModelForm):  # type: ignore[type-arg] # generic for the type checker only
    """How results go on a network. Fees are in gwei here, and in wei in the row."""

    least_tip = _fee()
    fee_cap = _fee()

    class Meta:
        model = Network
        fields = EDITED

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].widget.attrs.pop("autofocus", None)
        for name in EDITED:
            if name in self.fields:
                self.fields[name].help_text = _HELP[name]
        for name in FEES:
            self.initial[name] = Decimal(looks.gwei(getattr(self.instance, name)).replace(",", ""))
        for name, (least, most) in BOUNDS.items():
            if name in self.fields:
                self.fields[name].validators += [MinValueValidator(least), MaxValueValidator(most)]

    def clean(self) -> dict[str, Any]:
        """A cap that leaves room for the tip."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        tip, cap = (cleaned.get(name) for name in FEES)
        if tip is not None and cap is not None:
            if cap <= 0 or tip > cap:
                message = "The highest fee has to be above zero, and no less than the least tip."
                raise ValidationError({"fee_cap": message})
            cleaned |= {name: int(cleaned[name] * GWEI) for name in FEES}
        return cleaned


@admin.register(Network)
class NetworkAdmin(PlatformAdmin):
    """Networks. None is added or deleted here: `manage.py deploy_registry` makes one with its contract."""

    form = NetworkForm
    list_display = ["network", "final_by", "head_of", "final_of", "seen", "cap", "in_flight", "batches", "trees"]
    list_display_links = ["network"]
    ordering = ("chain_id",)
    actions = None
    sortable_by = ()

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: contracts and signers stand on it."""
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """There are no filters."""
        return False

    _SEEN = ("network", "head_of", "final_of", "seen")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> list[tuple[str | None, dict[str, Any]]]:
        """What the chain says, and what is set; who may not change it sees its fees in gwei as well."""
        may = self.has_change_permission(request, obj)
        chosen = (*EDITED, "reason") if may else tuple({"least_tip": "tip", "fee_cap": "cap"}.get(n, n) for n in EDITED)
        return [("What is known", {"fields": self._SEEN}), ("How results go on it", {"fields": chosen})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """What is only shown."""
        return (*self._SEEN, "tip", "cap")

    def save_model(self, request: HttpRequest, obj: Network, form: NetworkForm, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Write what was changed, and nothing else: its readers write the same row. With the audit record."""
        names = [name for name in EDITED if name in form.changed_data]
        if not names:
            return
        before = Network.objects.filter(pk=obj.pk).values(*names).get()
        obj.save(update_fields=names)
        audit.record(
            action="network.change",
            actor=actor_of(request),
            subject_type="network",
            subject_id=str(obj.pk),
            reason=form.cleaned_data["reason"],
            data={"name": obj.name, "before": before, "after": {name: getattr(obj, name) for name in names}},
        )

    @display(description="Network")
    def network(self, row: Network) -> str:
        """Name and number; whether results go there when nobody says where."""
        return f"{row}, the default" if row.default else str(row)

    @display(description="Final by")
    def final_by(self, row: Network) -> str:
        """When a block counts as final."""
        return f"depth {row.depth}" if row.finality == "depth" else row.finality

    @display(description="Head")
    def head_of(self, row: Network) -> str:
        """The highest block that a node told of."""
        return looks.number(row.head)

    @display(description="Final")
    def final_of(self, row: Network) -> str:
        """The highest block that counts as final."""
        return looks.number(row.final)

    @display(description="Head seen")
    def seen(self, row: Network) -> SafeString:
        """When a node was last heard."""
        return markup.moment(row.seen_at)

    @display(description="Least tip (gwei)")
    def tip(self, row: Network) -> str:
        """What every attempt offers at least."""
        return looks.gwei(row.least_tip)

    @display(description="Fee cap (gwei)")
    def cap(self, row: Network) -> str:
        """What no attempt offers more of."""
        return looks.gwei(row.fee_cap)

    @display(description="Batches")
    def batches(self, row: Network) -> str:
        """Jobs of a transaction, and how long the first waits for others."""
        return f"{looks.number(row.batch_size)} in {markup.duration(row.batch_seconds)}"

    @display(description="Trees")
    def trees(self, row: Network) -> str:
        """Jobs of a tree, and how long the first waits for others."""
        return f"{looks.number(row.anchor_size)} in {markup.duration(row.anchor_seconds)}"
