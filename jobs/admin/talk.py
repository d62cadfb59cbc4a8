"""What people say to one another at an intervention: whose it is, comments, and the second person's word."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from jobplatform.backoffice import markup
from jobplatform.backoffice.reasons import ReasonForm, actor_of
from jobs import inbox, interventions
from jobs.errors import JobsError
from jobs.models import Intervention

PERMISSION = "jobs.change_intervention"
MOST_PEOPLE = 500
MOST_SAID = 50
NOBODY = "nobody"


class AssignedFilter(DropdownFilter):  # type: ignore[misc] # unfold has no types
    """Mine, or nobody's."""

    title = "assigned to"
    parameter_name = "assigned"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The two choices."""
        return [("me", "me"), (NOBODY, NOBODY)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Intervention]) -> QuerySet[Intervention]:
        """Interventions of the chosen one."""
        if self.value() == "me":
            return queryset.filter(assigned_to=request.user.get_username())
        return queryset.filter(assigned_to="") if self.value() == NOBODY else queryset


class AssignForm(forms.Form):
    """Whose it is."""

    to = forms.ChoiceField(label="Assigned to", required=False, widget=UnfoldAdminSelectWidget())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        people = User.objects.filter(is_active=True, is_staff=True).order_by("username")
        names = list(people.values_list("username", flat=True)[:MOST_PEOPLE])
        self.fields["to"].choices = [("", NOBODY), *((name, name) for name in names)]  # type: ignore[attr-defined] # a choice field


class CommentForm(forms.Form):
    """What there is to say."""

    text = forms.CharField(
        label="Comment", max_length=inbox.LONGEST_COMMENT, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3})
    )


class ApproveForm(ReasonForm):
    """A reason, if there is one to add."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = False


@dataclass(frozen=True, slots=True)
class Verb:
    """Something that is said, in words."""

    title: str
    explanation: str
    form: type[forms.Form]
    do: Callable[[Intervention, str, dict[str, Any], str], object]
    done: str


VERBS = {
    "assign": Verb(
        "Assign", "Who looks after it. Others may decide all the same.", AssignForm,
        lambda row, actor, given, _: inbox.assign(row, given["to"], actor=actor), "Assigned.",
    ),
    "comment": Verb(
        "Comment", "For whoever looks at it next.", CommentForm,
        lambda row, actor, given, _: inbox.comment(row, given["text"], actor=actor), "Noted.",
    ),
    "approve": Verb(
        "Approve", "What was proposed is done at once, with your name beside that of who proposed it.", ApproveForm,
        lambda row, actor, given, key: inbox.approve(row, key, actor=actor, reason=given["reason"]),
        "Approved and done.",
    ),
    "decline": Verb(
        "Decline", "Nothing is done, and something else may be proposed.", ReasonForm,
        lambda row, actor, given, key: inbox.decline(row, key, actor=actor, reason=given["reason"]), "Declined.",
    ),
}  # fmt: skip


def show(model_admin: Any, verb: str, request: HttpRequest, intervention_id: UUID) -> HttpResponse:
    """The form of something that is said, and what comes of it. `?proposal=` names the one that was looked at."""
    if not (model_admin.has_view_permission(request) and request.user.has_perm(PERMISSION)):
        raise PermissionDenied
    row = Intervention.objects.filter(id=intervention_id).first()
    if row is None:
        raise Http404
    act = VERBS[verb]
    if verb == "approve" and row.proposal is not None:
        what = interventions.action(row, row.proposal["action"])
        if not request.user.has_perm(what.permission):
            raise PermissionDenied
    back = reverse("admin:jobs_intervention_change", args=(row.id,))
    initial = {"to": row.assigned_to or request.user.get_username()} if verb == "assign" else {}
    form = act.form(request.POST if request.method == "POST" else None, initial=initial)
    if form.is_valid():
        try:
            act.do(row, actor_of(request), form.cleaned_data, request.GET.get("proposal", ""))
        except JobsError as error:
            messages.warning(request, str(error))
        else:
            messages.success(request, act.done)
        return HttpResponseRedirect(back)
    shown = markup.pretty(row.proposal) if verb in {"approve", "decline"} and row.proposal else None
    context = {
        **model_admin.admin_site.each_context(request),
        "title": f"{act.title}: intervention",
        "content_title": f"{act.title}: intervention",
        "act": act,
        "about": [("Reason", markup.spoken(row.reason)), *([("Proposed", _pre(shown.text))] if shown else [])],
        "danger": verb == "approve",
        "form": form,
        "back": back,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "backoffice/decide.html", context)


def _pre(text: str) -> SafeString:
    return format_html('<pre class="jp-json">{}</pre>', text)


def _button(row: Intervention, verb: str, title: str, query: str = "") -> SafeString:
    address = reverse(f"admin:jobs_intervention_{verb}", args=(row.id,))
    return format_html('<a class="jp-button" href="{}{}">{}</a>', address, query, title)


def assigned(row: Intervention, *, may: bool) -> SafeString:
    """Whose it is, and the way to change it."""
    change = _button(row, "assign", "Assign") if may and row.resolved_at is None else ""
    return format_html("{} {}", row.assigned_to or NOBODY, change)


def said(row: Intervention, *, may: bool) -> SafeString:
    """The last comments, the newest first, and the way to another."""
    found = inbox.comments(row).order_by("-id")[:MOST_SAID]
    told = ((one.actor, markup.moment(one.at), markup.visible(one.text)) for one in found)
    lines = format_html_join("", "<p><b>{}</b> <small>{}</small><br>{}</p>", told)
    return format_html("{}{}", lines, _button(row, "comment", "Comment") if may else "")


def proposed(row: Intervention, *, may: bool) -> SafeString | str:
    """What the first of two persons wants, and the ways to answer."""
    if row.proposal is None or row.resolved_at is not None:
        return markup.NOTHING
    query = f"?proposal={row.proposal['id']}"
    answers = [_button(row, "approve", "Approve", query), _button(row, "decline", "Decline", query)] if may else []
    told = {name: value for name, value in row.proposal.items() if name != "id" and value is not None}
    shown = markup.pretty(told)
    buttons = format_html_join(" ", "{}", ((one,) for one in answers))
    return format_html("{}{}", _pre(shown.text if shown else ""), buttons)
