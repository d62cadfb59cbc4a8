"""Acts by hand: who acts, and the reason that every one of them wants."""

from django import forms
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextareaWidget

LONGEST_REASON = 500


class ReasonForm(forms.Form):
    """Why somebody acts. It goes to the audit record."""

    reason = forms.CharField(
        min_length=3,
        max_length=LONGEST_REASON,
        help_text="Goes to the audit record, with your name.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2, "autofocus": True, "maxlength": LONGEST_REASON}),
    )


def actor_of(request: HttpRequest) -> str:
    """Who is at the keyboard, as the audit record writes it."""
    return f"user:{request.user.get_username()}"
