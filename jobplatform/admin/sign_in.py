"""Signing in to the admin: the form, with a limit on failures. Failures stand in the audit record.

A second factor would be asked for here: it is the site's `login_form`.
"""

import contextlib
import datetime as dt
import ipaddress
from collections.abc import Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.utils import timezone
from unfold.forms import AuthenticationForm

from events import audit
from events.models import AuditRecord

WINDOW = dt.timedelta(minutes=5)
MOST_PER_NAME = 10
"""Failures of one name from one address within the window."""
MOST_PER_ADDRESS = 100


def address_of(meta: Mapping[str, Any]) -> str:
    """Where a request comes from: behind the proxy that `HTTPS=1` expects, what that proxy says.

    It appends the address that it was called from, so what a client made up stands before it.
    """
    if settings.SECURE_PROXY_SSL_HEADER:
        said = str(meta.get("HTTP_X_FORWARDED_FOR", "")).rpartition(",")[2].strip()
        with contextlib.suppress(ValueError):
            return str(ipaddress.ip_address(said))
    return str(meta.get("REMOTE_ADDR", ""))


class SignInForm(AuthenticationForm):  # type: ignore[misc] # unfold has no types
    """Name and password. After too many failures it refuses until the window has passed, whatever the password."""

    def clean(self) -> dict[str, Any]:
        """Check the limit, then the password. Raises ValidationError."""
        name = str(self.cleaned_data.get("username") or "")[:150]
        address = address_of(self.request.META) if self.request else ""
        if self._failed_too_often(name, address):
            message = "Too many failures. Wait some minutes, then try again."
            raise forms.ValidationError(message, code="too_many_failures")
        try:
            cleaned: dict[str, Any] = super().clean()
        except forms.ValidationError:
            audit.record(
                action="login.failed",
                actor="anonymous",
                subject_type="login",
                subject_id=address,
                reason="wrong name or password",
                data={"name": name.replace("\0", "")},
            )
            raise
        return cleaned

    def _failed_too_often(self, name: str, address: str) -> bool:
        since = timezone.now() - WINDOW
        recent = list(
            AuditRecord.objects.filter(subject_type="login", subject_id=address)
            .values_list("occurred_at", "data__name")
            .order_by("-id")[:MOST_PER_ADDRESS]
        )
        names = [failed for at, failed in recent if at >= since]
        return len(names) >= MOST_PER_ADDRESS or names.count(name) >= MOST_PER_NAME
