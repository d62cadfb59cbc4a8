"""What an operator is asked before an act: the reason, and a payload or an output where the act wants one."""

import json
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget

from jobplatform.backoffice.reasons import ReasonForm

LARGEST = 1024 * 1024
"""Characters of a payload or an output."""


def json_field() -> forms.CharField:
    """A field for JSON text."""
    widget = UnfoldAdminTextareaWidget(attrs={"rows": 16, "class": "jp-json-input", "spellcheck": "false"})
    return forms.CharField(max_length=LARGEST, strip=False, widget=widget)


class EditForm(ReasonForm):
    """A payload as JSON text, and why it is changed."""

    payload = json_field()
    field_order = ("payload", "reason")

    def clean_payload(self) -> dict[str, Any]:
        """The payload as an object."""
        value = parsed(self.cleaned_data["payload"])
        if not isinstance(value, dict):
            message = "The payload is a JSON object: {…}."
            raise forms.ValidationError(message)
        return value


class OutputForm(ReasonForm):
    """An output as JSON text, and why a person supplies it."""

    output = json_field()
    field_order = ("output", "reason")

    def clean_output(self) -> Any:
        """The output as a value."""
        value = parsed(self.cleaned_data["output"])
        if value is None:
            message = "The output is a JSON value other than null."
            raise forms.ValidationError(message)
        return value


class WakeForm(ReasonForm):
    """What the handler is given, as JSON text, if anything, and why the job need not wait."""

    given = json_field()
    field_order = ("given", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["given"].label = "Data"
        self.fields["given"].required = False
        self.fields["given"].widget.attrs["rows"] = 4

    def clean_given(self) -> dict[str, Any]:
        """The data as an object."""
        text = self.cleaned_data["given"].strip()
        value = parsed(text) if text else {}
        if not isinstance(value, dict):
            message = "The data are a JSON object: {…}."
            raise forms.ValidationError(message)
        return value


def parsed(text: str) -> Any:
    """A JSON text as a value. Raises `forms.ValidationError`."""
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_once)
    except ValueError as error:
        message = f"This is not JSON: {error}"
        raise forms.ValidationError(message) from error
    except RecursionError as error:
        message = "This is nested too deeply."
        raise forms.ValidationError(message) from error


def _refuse(name: str) -> None:
    message = f"{name} is not a JSON value"
    raise ValueError(message)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        message = "a name occurs twice in one object"
        raise ValueError(message)
    return found
