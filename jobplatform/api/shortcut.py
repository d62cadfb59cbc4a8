"""The short way of a program's request to one of the API's fixed addresses: the same view, with less around it.

A request with an API key that asks for JSON needs no session, no CSRF token, no page and no search through patterns of
addresses, and Django's own handling of a request costs more than all that the view does. Here such a request goes from
the server straight to its view: the same limits, authentication, permissions, method and errors, in less than half of
the time. Whatever is not plainly such a request takes the long way, and a test holds the answers of both ways together.

    application = Shortcut(get_wsgi_application())
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, cast

from django.core.handlers.exception import response_for_exception
from django.core.handlers.wsgi import WSGIRequest
from django.db import connections
from django.http import HttpResponse
from django.urls import URLResolver, get_resolver
from rest_framework.response import Response

from jobplatform.api import problems
from jobplatform.api.encoding import dumps
from jobplatform.api.middleware import excess_of
from jobplatform.api.refusals import plain
from jobplatform.api.views import ApiView

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[Environ, Any], Iterable[bytes]]

_JSON_ACCEPTED = frozenset({None, "", "*/*", "application/json"})
_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
_HEADERS = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]


class Shortcut:
    """A WSGI application around Django's."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, or pass on."""
        if (
            "HTTP_AUTHORIZATION" in environ
            and environ.get("HTTP_ACCEPT") in _JSON_ACCEPTED
            and not environ.get("QUERY_STRING")
            and not environ.get("SCRIPT_NAME")
        ):
            view_class = _fixed_addresses().get(environ.get("PATH_INFO", ""))
            if view_class is not None and environ["REQUEST_METHOD"] in view_class.scopes:
                return _answer(view_class(), environ, start_response)
        return self._application(environ, start_response)


def _answer(view: ApiView, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """What Django's handler and `view.dispatch` do, for a program."""
    http = WSGIRequest(environ)
    try:
        response = _response(view, http)
        body = _body(response)
    except Exception as error:  # noqa: BLE001 - what Django does around every view
        problem = problems.of(error)
        response = response_for_exception(http, error) if problem is None else plain(problem)
        body = response.content
    if isinstance(response, Response):
        headers = [("Content-Type", "application/json"), *_HEADERS]
        headers += [item for item in response.items() if item[0] != "Content-Type"]
    else:
        headers = [*response.items(), *_HEADERS]
    headers.append(("Content-Length", str(len(body))))
    start_response(_STATUS_LINES[response.status_code], headers)
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()
    return [body]


def _body(response: HttpResponse) -> bytes:
    if isinstance(response, Response):
        return b"" if response.data is None else dumps(response.data)
    return response.content


def _response(view: ApiView, http: WSGIRequest) -> HttpResponse:
    if (problem := excess_of(http)) is not None:
        raise problem
    request = view.initialize_request(http)
    view.setup(cast("Any", request))
    view.perform_authentication(request)
    view.check_permissions(request)
    response: HttpResponse = getattr(view, str(http.method).lower())(request)
    return response


@cache
def _fixed_addresses() -> Mapping[str, type[ApiView]]:
    """Addresses without variable parts, and their views."""
    return dict(_fixed(get_resolver(), "/"))


def _fixed(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, type[ApiView]]]:
    for entry in resolver.url_patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _fixed(entry, path)
        elif not set("<(^$\\") & set(path):
            view_class = getattr(entry.callback, "cls", None)
            if isinstance(view_class, type) and issubclass(view_class, ApiView):
                yield path, view_class
