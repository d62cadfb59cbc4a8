"""Pause and resume a signer by hand, each with its reason."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from confirmations.admin import looks
from confirmations.admin.pages import Button
from confirmations.models import Signer
from confirmations.services import deciding
from confirmations.states import Duty
from events import audit
from jobplatform.backoffice.reasons import ReasonForm, actor_of
from jobs.errors import JobsError
from jobs.models import Intervention

PERMISSION = "confirmations.pause_signer"


@dataclass(frozen=True, slots=True)
class Act:
    """A change of duty, in words, and from which duties it is made."""

    name: str
    title: str
    done: str
    explanation: str
    duty: Duty
    of: frozenset[Duty]
    icon: str
    tone: str


PAUSE = Act(
    "pause", "Pause", "paused", "It signs nothing more. What it has sent is watched on; what comes waits.",
    Duty.PAUSED, frozenset({Duty.ACTIVE, Duty.NO_FUNDS}), "pause_circle", "danger",
)  # fmt: skip
RESUME = Act(
    "resume", "Resume", "active", "It signs again, behind all nonces that are used.",
    Duty.ACTIVE, frozenset({Duty.PAUSED, Duty.NO_FUNDS, Duty.HALTED}), "play_circle", "primary",
)  # fmt: skip
ACTS = {act.name: act for act in (PAUSE, RESUME)}


def buttons(request: HttpRequest, signer: Signer) -> list[Button]:
    """What this person may do to a signer now."""
    if not request.user.has_perm(PERMISSION):
        return []
    return [
        Button(act.title, reverse(f"admin:confirmations_signer_{act.name}", args=(signer.id,)), act.icon, act.tone)
        for act in ACTS.values()
        if signer.duty in act.of
    ]


def change(model_admin: Any, request: HttpRequest, name: str, signer_id: UUID) -> HttpResponse:
    """The form of an act on a signer, and the act."""
    act = ACTS[name]
    if not (model_admin.has_view_permission(request) and request.user.has_perm(PERMISSION)):
        raise PermissionDenied
    signer = Signer.objects.select_related("network").filter(id=signer_id).first()
    if signer is None:
        raise Http404
    back = reverse("admin:confirmations_signer_change", args=(signer.id,))
    asked = _asked(signer) if act is RESUME else None
    if asked is not None:
        messages.warning(request, "A person was asked about this signer: it is decided here.")
        return HttpResponseRedirect(reverse("admin:jobs_intervention_change", args=(asked,)))
    form = ReasonForm(request.POST if request.method == "POST" else None)
    if signer.duty not in act.of:
        messages.warning(request, _nothing_to_do(signer, act))
        return HttpResponseRedirect(back)
    if form.is_valid():
        try:
            done = _take(act, signer, actor_of(request), form.cleaned_data["reason"])
        except JobsError as error:
            messages.error(request, str(error))
        else:
            if done:
                messages.success(request, f"The signer is {act.done}.")
            else:
                messages.warning(request, "Somebody else was faster.")
        return HttpResponseRedirect(back)
    title = f"{act.title}: {signer}"
    context = {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "content_title": f"{act.title} a signer",
        "act": act,
        "about": [
            ("Signer", looks.whole(signer.address)),
            ("Network", str(signer.network)),
            ("Duty", looks.word(signer.duty, looks.DUTY)),
        ],
        "danger": act is PAUSE,
        "form": form,
        "back": back,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "backoffice/decide.html", context)


def _take(act: Act, signer: Signer, actor: str, reason: str) -> bool:
    """Change its duty, with the audit record. False: its duty is another one by now."""
    with transaction.atomic():
        row = Signer.objects.select_for_update().get(id=signer.id)
        if row.duty not in act.of:
            return False
        deciding.set_duty(row.id, act.duty, reason)
        audit.record(
            action=f"signer.{act.name}", actor=actor, subject_type="signer", subject_id=row.id, reason=reason,
            data={"before": {"duty": row.duty}, "after": {"duty": act.duty}},
        )  # fmt: skip
    return True


def _asked(signer: Signer) -> UUID | None:
    """The intervention that waits for a decision about a signer: to resume it is to decide."""
    return (
        Intervention.objects.filter(subject_type="signer", subject_id=str(signer.id), resolved_at=None)
        .values_list("id", flat=True)
        .first()
    )


def _nothing_to_do(signer: Signer, act: Act) -> str:
    return f"The signer is {signer.duty.replace('_', ' ')} now: there is nothing to {act.name}."
