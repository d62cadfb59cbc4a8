"""Pydantic's findings as problems."""

from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from jobplatform.api.problems import MOST_ERRORS, FieldError, Problem

M = TypeVar("M", bound=BaseModel)

LONGEST_MESSAGE = 300  # characters
LONGEST_NAME = 100  # characters of one step of a pointer

# Messages of these types repeat what was sent.
_RETOLD = {
    "union_tag_invalid": "Input should be one of the known variants",
    "uuid_parsing": "Input should be a valid UUID",
}


def validated(model: type[M], data: Any, *, pointer: str = "") -> M:
    """`data` as a Pydantic model. Raises `Problem` 422 `validation_error`, with `pointer` before each field."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise invalid(error, pointer=pointer) from None


def invalid(error: ValidationError, *, pointer: str = "", code: str = "validation_error") -> Problem:
    """A validation error as a problem: one entry per field, by JSON pointer, without what was sent."""
    errors = field_errors(error, pointer=pointer)
    noun = "field does" if error.error_count() == 1 else "fields do"
    detail = f"{error.error_count()} {noun} not fit."
    if error.error_count() > MOST_ERRORS:
        detail += f" The first {MOST_ERRORS} are listed."
    return Problem(422, code, detail, errors=errors)


def field_errors(error: ValidationError, *, pointer: str = "") -> list[FieldError]:
    """The entries alone, for answers that hold the errors of many items."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        {
            "field": pointer + pointer_to(entry["loc"]),
            "code": entry["type"],
            "message": (_RETOLD.get(entry["type"]) or entry["msg"])[:LONGEST_MESSAGE],
        }
        for entry in found[:MOST_ERRORS]
    ]


def pointer_to(steps: Iterable[str | int]) -> str:
    """A JSON pointer (RFC 6901): ("a/b", 0) is "/a~1b/0"."""
    return "".join(f"/{str(step)[:LONGEST_NAME].replace('~', '~0').replace('/', '~1')}" for step in steps)
