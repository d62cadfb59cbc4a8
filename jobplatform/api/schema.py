"""Pieces of the OpenAPI schema that every app's views share."""

from functools import cache

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from pydantic import BaseModel, ConfigDict, create_model

from jobplatform.api.pages import DEFAULT_LIMIT, MOST
from jobplatform.api.problems import CONTENT_TYPE


class ProblemError(BaseModel):
    """One thing that is wrong with a request."""

    field: str
    code: str
    message: str


class ProblemShown(BaseModel):
    """An answer of 400 or above (RFC 9457). Branch on `code`."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[ProblemError] = []


def _problem(description: str) -> OpenApiResponse:
    return OpenApiResponse(ProblemShown, description)


PROBLEMS = {
    (400, CONTENT_TYPE): _problem("The request is malformed."),
    (401, CONTENT_TYPE): _problem("No valid credential."),
    (403, CONTENT_TYPE): _problem("The credential lacks a scope."),
    (404, CONTENT_TYPE): _problem("There is nothing here, or not for you."),
    (405, CONTENT_TYPE): _problem("Not with this method."),
    (406, CONTENT_TYPE): _problem("Not in this format."),
    (409, CONTENT_TYPE): _problem("It contradicts what is there."),
    (413, CONTENT_TYPE): _problem("The body is too large."),
    (415, CONTENT_TYPE): _problem("The body is not JSON."),
    (422, CONTENT_TYPE): _problem("The request does not fit; see `errors`."),
    (503, CONTENT_TYPE): _problem("The database is away or busy; try again."),
}
"""The refusals that any address may give: add them to `responses` of `extend_schema`."""

LIST_PARAMETERS = [
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_LIMIT},
        description="How many results to show.",
    ),
    OpenApiParameter("cursor", OpenApiTypes.STR, description="From `next` or `previous` of another page."),
]

IdempotencyHeader = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-~]{1,255}$"},
    OpenApiParameter.HEADER,
    description="Send the request again with the same key and body, and the first answer is given again (72 hours).",
)


@cache
def page_of(item: type[BaseModel]) -> type[BaseModel]:
    """The schema of a cursor page of such items."""
    return create_model(
        f"{item.__name__}Page",
        __doc__=f"A page of {item.__name__}.",
        next=(str | None, ...),
        previous=(str | None, ...),
        results=(list[item], ...),  # type: ignore[valid-type]
    )
