"""The base of every view of the API: Django REST framework with the parts left out that a JSON request does not need.

class JobsView(ApiView):
    scopes = {"GET": "jobs:read", "POST": "jobs:write"}
    max_body_bytes = 4 * 1024 * 1024
    filters = frozenset({"status", "kind"})

    def post(self, request: ApiRequest) -> Response:
        ask = request.body_as(CreateJob)  # a Pydantic model; 400, 413, 415 or 422 if it does not fit
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Protocol, TypeVar, cast
from uuid import UUID

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from pydantic import BaseModel
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from jobplatform.api import parsers, strict_json
from jobplatform.api.examples import Example
from jobplatform.api.problems import Problem
from jobplatform.api.renderers import JSONRenderer
from jobplatform.api.validation import validated

M = TypeVar("M", bound=BaseModel)

_JSON = JSONRenderer()
_JSON_ACCEPTED = frozenset({"", "*/*", "application/json"})
# Every list and page takes these beside its own filters: paging, the browsable API, and the project of a session.
_ALWAYS = frozenset({"limit", "cursor", "format", "project"})


class Caller(Protocol):
    """Who asks, as the views see it: what the authentication puts into `request.auth`."""

    @property
    def project_id(self) -> UUID:
        """The project that the request is about. It is a condition of every statement."""

    @property
    def key_id(self) -> str:
        """The API key, or an empty text for a person."""

    @property
    def scopes(self) -> frozenset[str]:
        """What the caller may do."""

    @property
    def user_id(self) -> int | None:
        """The person of the staff, or None for a program."""

    @property
    def actor(self) -> str:
        """Who this is, as the audit record writes it."""


class ApiRequest(Request):
    """A request whose body is read once, within the view's limit, and parsed strictly."""

    @property
    def caller(self) -> Caller:
        """Who asks. Only for views that somebody has to be known to: see `ApiView.scopes`."""
        return cast("Caller", self.auth)

    @cached_property
    def raw_body(self) -> bytes:
        """The bytes of the body as they came. Raises `Problem` (400, 413, 415)."""
        limit = getattr(self.parser_context["view"], "max_body_bytes", parsers.DEFAULT_LIMIT)
        return parsers.read_body(self._request, limit)

    def body_as(self, model: type[M], *, optional: bool = False) -> M:
        """The body as a Pydantic model. With `optional`, no body at all is as good as `{}`.

        Raises `Problem`: 400, 413 or 415 if it is no JSON, 422 `validation_error` if it does not fit the model.
        """
        if optional and not self.raw_body:
            return validated(model, {})
        return validated(model, self.data)

    def _parse(self) -> tuple[Any, Any]:
        # Whether there is a body is the parser's question: without Content-Length, Django REST framework sees none.
        if self.method in {"GET", "HEAD", "OPTIONS"}:
            return {}, {}
        if self.parsers and not isinstance(self.parsers[0], parsers.StrictJSONParser):
            parsed: tuple[Any, Any] = super()._parse()  # type: ignore[misc] # private, so its types leave it out
            return parsed
        if self.raw_body:  # no body: a missing type is not what is wrong
            parsers.check_content_type(self.content_type)
        return strict_json.loads(self.raw_body), {}


class ApiView(APIView):
    """A view of the API. Without `scopes` for a method, that method is refused."""

    scopes: ClassVar[Mapping[str, str]] = {}
    """Method → scope that the caller's credential needs."""
    max_body_bytes: ClassVar[int] = parsers.DEFAULT_LIMIT
    filters: ClassVar[frozenset[str]] = frozenset()
    """Names that the query string may hold beside `limit`, `cursor`, `format` and `project`. `metadata.` names all
    that begin so."""

    http_method_names = ["get", "post", "put", "patch", "delete", "head"]  # no OPTIONS: see the schema
    _headers_of_class: ClassVar[Mapping[str, str] | None] = None

    def get_example(self, request: ApiRequest) -> Any:
        """A body for the browsable API's form, or None."""
        return None

    def get_examples(self, request: ApiRequest) -> list[Example]:
        """Several of them to choose from. A view that has only one gives `get_example`."""
        body = self.get_example(request)
        return [] if body is None else [Example("Example", body)]

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> ApiRequest:
        """Wrap Django's request."""
        return ApiRequest(
            request,
            parsers=self.get_parsers(),
            authenticators=self.get_authenticators(),
            negotiator=self.get_content_negotiator(),
            parser_context={"view": self, "args": args, "kwargs": kwargs},
        )

    @property
    def default_response_headers(self) -> dict[str, str]:
        """`Allow` and `Vary`: the same for every answer of a class, so worked out once."""
        cls = type(self)
        if cls._headers_of_class is None or "_headers_of_class" not in cls.__dict__:
            cls._headers_of_class = super().default_response_headers
        return dict(cls._headers_of_class)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:  # noqa: FBT001, FBT002 - DRF's signature
        """JSON at once for whoever asks for it or for anything; Django REST framework decides the rest."""
        meta = request.META
        if meta.get("HTTP_ACCEPT", "") in _JSON_ACCEPTED and "format=" not in meta.get("QUERY_STRING", ""):
            return _JSON, "application/json"
        negotiated: tuple[BaseRenderer, str] = super().perform_content_negotiation(request, force)
        return negotiated

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Who are you, may you, and do we know what you ask for: in this order."""
        super().initial(request, *args, **kwargs)
        if request.META.get("QUERY_STRING"):
            self._check_query(request)

    def _check_query(self, request: Request) -> None:
        known = _ALWAYS | self.filters
        for name, values in request.query_params.lists():
            if name not in known and f"{name.partition('.')[0]}." not in known:
                sentence = "The query string has a parameter that this address does not know."
                field = {"field": f"?{name[:100]}", "code": "unknown_parameter", "message": "Unknown parameter."}
                raise Problem(400, "unknown_parameter", sentence, errors=[field])  # type: ignore[list-item]
            if len(values) > 1:
                raise Problem(400, "repeated_parameter", f"The parameter {name} is given more than once.")

    def finalize_response(self, request: Request, response: HttpResponseBase, *args: Any, **kwargs: Any) -> Any:
        """Django REST framework's, and no store for what is somebody's own."""
        response = super().finalize_response(request, response, *args, **kwargs)  # type: ignore[arg-type]
        response.headers.setdefault("Cache-Control", "no-store")
        return response


__all__ = ["ApiRequest", "ApiView", "Example", "Response"]
