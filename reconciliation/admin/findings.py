"""What stands between two states, in the admin: it should read zero everywhere."""

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from jobplatform.backoffice import markup
from jobplatform.backoffice.markup import Look, badge
from jobplatform.backoffice.readonly import ReadOnlyAdmin
from jobs import extensions
from reconciliation.models import Finding

GOOD, BAD = Look("good", "check_circle"), Look("bad", "error")


@admin.register(Finding)
class FindingAdmin(ReadOnlyAdmin):
    """What each invariant found when it was looked for last."""

    list_display = ["name", "promise", "left", "repaired", "lasts", "looked"]
    fields = ["name", "promise", "left", "repaired", "lasts", "looked", "shown"]
    readonly_fields = fields
    ordering = ("-number", "name")
    window_fields = ("name",)

    @display(description="What holds")
    def promise(self, row: Finding) -> str:
        """In words."""
        return extensions.invariants.get(row.name).title if row.name in extensions.invariants else ""

    @display(description="Against it")
    def left(self, row: Finding) -> SafeString:
        """How many stand against it."""
        return badge(f"{row.number:,}", BAD if row.number else GOOD)

    @display(description="Since")
    def lasts(self, row: Finding) -> SafeString:
        """Since when."""
        return markup.moment(row.since)

    @display(description="Looked at")
    def looked(self, row: Finding) -> SafeString:
        """When."""
        return markup.moment(row.looked_at)

    @display(description="Some of them")
    def shown(self, row: Finding) -> SafeString:
        """What was found."""
        found = markup.pretty(row.samples)
        return format_html('<pre class="jp-json">{}</pre>', found.text if found else "")
