"""The short way of a program's request to one of the API's fixed addresses: the same view, with less around it.

A request with an API key that asks for JSON needs no session, no CSRF token, no page and no search through patterns of
addresses. Here it goes from the first middleware straight to its view: the same authentication, permissions, method and
errors, in about half of the time. Whatever is not plainly such a request, and whatever is refused, takes the long way's
code.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, cast

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.response import Response

from jobplatform.api.renderers import dumps
from jobplatform.api.views import ApiView

GetResponse = Callable[[HttpRequest], HttpResponseBase]

_ALWAYS = {
    name.lower(): (name, value)
    for name, value in {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }.items()
}
_JSON_ACCEPTED = frozenset({None, "", "*/*", "application/json"})


class Shortcut:
    """Middleware, to stand behind `RequestLimits` and before all others."""

    def __init__(self, get_response: GetResponse) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer, or pass on."""
        meta = request.META
        if "HTTP_AUTHORIZATION" in meta and meta.get("HTTP_ACCEPT") in _JSON_ACCEPTED and not meta.get("QUERY_STRING"):
            view_class = _fixed_addresses().get(request.path_info)
            if view_class is not None and request.method in view_class.scopes:
                return answer(view_class(), request)
        return self._get_response(request)


def answer(view: ApiView, http: HttpRequest) -> HttpResponseBase:
    """What `view.dispatch` does, for a program."""
    request = view.initialize_request(http)
    view.setup(cast("Any", request))
    try:
        view.perform_authentication(request)
        view.check_permissions(request)
        response = getattr(view, str(http.method).lower())(request)
        if not isinstance(response, Response):
            return cast("HttpResponseBase", response)
    except Exception as error:  # noqa: BLE001 - handle_exception raises again what is no refusal
        return _refused(view, request, error)
    body = b"" if response.data is None else dumps(response.data)
    shown = HttpResponse(body, status=response.status_code)
    # Past the checks of each name and value: they are constants, or were checked when the view set them.
    shown.headers._store = {**response.headers._store, **_ALWAYS}  # type: ignore[attr-defined] # noqa: SLF001
    return shown


def _refused(view: ApiView, request: Any, error: Exception) -> HttpResponseBase:
    """The long way's answer to an error."""
    request.accepted_renderer, request.accepted_media_type = view.perform_content_negotiation(request)
    view.headers = view.default_response_headers
    response = view.finalize_response(request, view.handle_exception(error))
    response.render()
    return cast("HttpResponseBase", response)


@cache
def _fixed_addresses() -> Mapping[str, type[ApiView]]:
    """Addresses without variable parts, and their views."""
    return dict(_fixed(get_resolver(), "/"))


def _fixed(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, type[ApiView]]]:
    for entry in resolver.url_patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _fixed(entry, path)
        elif isinstance(entry, URLPattern) and not set("<(^$\\") & set(path):
            view_class = getattr(entry.callback, "cls", None)
            if isinstance(view_class, type) and issubclass(view_class, ApiView):
                yield path, view_class
