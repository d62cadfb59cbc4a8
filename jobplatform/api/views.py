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
from http import HTTPStatus
from typing import Any, ClassVar, Protocol, TypeVar, cast
from uuid import UUID

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from pydantic import BaseModel
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from jobplatform.api import parsers, strict_json
from jobplatform.api.encoding import dumps
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

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        # Asked for all the time; by itself, each goes the long way round to Django's request.
        self.META = request.META
        self.method = request.method

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
        """None yet: see `finalize_response`."""
        return {}

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:  # noqa: FBT001, FBT002 - DRF's signature
        """JSON at once for whoever asks for it or for anything; Django REST framework decides the rest."""
        meta = request.META
        if meta.get("HTTP_ACCEPT", "") in _JSON_ACCEPTED and "format=" not in meta.get("QUERY_STRING", ""):
            return _JSON, "application/json"
        negotiated: tuple[BaseRenderer, str] = super().perform_content_negotiation(request, force)
        return negotiated

    def perform_authentication(self, request: Request) -> None:
        """Ask the authenticators in turn; the first one that knows the caller decides."""
        inner = cast("Any", request)  # what Request does by itself, without its detours
        known = None
        try:
            for authenticator in request.authenticators or ():
                known = authenticator.authenticate(request)
                if known is not None:
                    inner._authenticator = authenticator  # noqa: SLF001
                    inner.user, inner.auth = known
                    return
        finally:
            if known is None:  # also after a refusal: else the page that shows it would ask once more
                inner._not_authenticated()  # noqa: SLF001

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Who are you, may you, and do we know what you ask for: in this order."""
        self.format_kwarg = None
        request.accepted_renderer, request.accepted_media_type = self.perform_content_negotiation(request)
        request.version, request.versioning_scheme = None, None
        self.perform_authentication(request)
        self.check_permissions(request)
        self.check_throttles(request)
        if request.META.get("QUERY_STRING"):
            self._check_query(request)

    def _check_query(self, request: Request) -> None:
        known = _ALWAYS | self.filters
        for name, values in request.query_params.lists():
            family, dot, _ = name.partition(".")
            if name not in known and family + dot not in known:
                sentence = "The query string has a parameter that this address does not know."
                field = {"field": f"?{name[:100]}", "code": "unknown_parameter", "message": "Unknown parameter."}
                raise Problem(400, "unknown_parameter", sentence, errors=[field])  # type: ignore[list-item]
            if len(values) > 1:
                raise Problem(400, "repeated_parameter", f"The parameter {name} is given more than once.")

    def finalize_response(self, request: Request, response: HttpResponseBase, *args: Any, **kwargs: Any) -> Any:
        """Add the headers, and write JSON at once; what is for people is rendered later, by Django."""
        headers = response.headers
        headers.setdefault("Cache-Control", "no-store")  # it is somebody's own
        patch_vary_headers(response, ("Accept",))
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(self.allowed_methods)
        if not isinstance(response, Response):
            return response
        renderer = getattr(request, "accepted_renderer", None)
        if renderer is None:  # refused before it was negotiated
            renderer, request.accepted_media_type = self.perform_content_negotiation(request, force=True)
            request.accepted_renderer = renderer
        if type(response) is Response and renderer is _JSON and response.content_type is None:
            if response.data is None:
                del headers["Content-Type"]
                response.content = b""
            else:
                headers["Content-Type"] = "application/json"
                response.content = dumps(response.data)
        response.accepted_renderer, response.accepted_media_type = renderer, request.accepted_media_type
        cast("Any", response).renderer_context = self.get_renderer_context()
        return response


__all__ = ["ApiRequest", "ApiView", "Example", "Response"]
