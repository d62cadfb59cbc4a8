"""The browsable API: the same addresses as a page for people, with forms that are filled in with a working example.

The page holds no markup that came from data: JSON is escaped, and the script writes text, never HTML. Its one script
and one style sheet run by the nonce of the Content-Security-Policy (`middleware.py`).
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from django.conf import settings
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.template import Context, Engine, Template
from django.urls import NoReverseMatch, reverse
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from jobplatform.api.encoding import dumps
from jobplatform.api.examples import Example
from jobplatform.api.middleware import csp_nonce

_WRITING = ("POST", "PUT", "PATCH")
_LONGEST_SHOWN = 512 * 1024  # bytes of JSON on a page

# A text of the JSON, already escaped, that is an address of this API: with or without this host before it.
_ADDRESS = re.compile(
    r"&quot;((?:https?://(?P<host>[\w.:\[\]-]+))?/(?:api|admin)/[\w./?=%:,~-]*(?:&amp;[\w./?=%:,~-]+)*)&quot;"
)


class BrowsableRenderer(BaseRenderer):
    """text/html for people: what a request answered, and forms for the next one."""

    media_type = "text/html"
    format = "api"
    charset = "utf-8"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> str:
        """The page around an answer."""
        context = dict(renderer_context or {})
        view, request, response = context["view"], context["request"], context["response"]
        page = {
            **_frame(request),
            "name": view.get_view_name(),
            "description": (type(view).__doc__ or "").strip(),
            "request": request,
            "response": response,
            "headers": _headers(response),
            "content": _linked(_pretty(data), request),
            "pages": data if isinstance(data, Mapping) and {"next", "previous", "results"} <= set(data) else None,
            "filters": sorted(name for name in getattr(view, "filters", ()) if not name.endswith(".")),
            "query": {name: request.query_params[name] for name in request.query_params},
            "forms": list(_forms(view, request)),
        }
        return str(_template().render(Context(page)))


@cache
def _template() -> Template:
    engine = Engine(dirs=[str(Path(__file__).parent / "templates")])
    return engine.get_template("browsable.html")


def _frame(request: Request) -> dict[str, Any]:
    """What every page has: who is asking, where to log in, tokens."""
    http: HttpRequest = request._request  # noqa: SLF001 - Django REST framework has no other name for it
    user: Any = request.user  # None without a credential: see UNAUTHENTICATED_USER
    return {
        "nonce": csp_nonce(http),
        "csrf_token": get_token(http),
        "csrf_header": settings.CSRF_HEADER_NAME.removeprefix("HTTP_").replace("_", "-"),
        "user": user if user and user.is_authenticated else None,
        "credential": request.auth,
        "login_url": _url("admin:login", f"?next={quote(http.get_full_path())}"),
        "admin_url": _url("admin:index"),
        "crumbs": [(part, _kept_to(request, address)) for part, address in _crumbs(request.path)],
        "project": request.query_params.get("project"),
    }


def _url(name: str, query: str = "") -> str:
    try:
        return reverse(name) + query
    except NoReverseMatch:
        return ""


def _crumbs(path: str) -> Iterator[tuple[str, str]]:
    parts = path.strip("/").split("/")
    for end, part in enumerate(parts, 1):
        yield part, "/" + "/".join(parts[:end])


def _headers(response: Response) -> list[tuple[str, str]]:
    hidden = {"content-type", "content-length", "cache-control"}
    return [(name, value) for name, value in response.items() if name.lower() not in hidden]


def _pretty(data: Any) -> str:
    if data is None:
        return ""
    # Kept answers are JSON already: read them, so that they are indented like the rest.
    body = dumps(orjson.loads(dumps(data)) if isinstance(data, orjson.Fragment) else data, indent=True)
    if len(body) <= _LONGEST_SHOWN:
        return body.decode()
    return f"{body[:_LONGEST_SHOWN].decode(errors='ignore')}\n… {len(body)} bytes; ask for application/json to see all."


def _linked(text: str, request: Request) -> SafeString:
    """Escaped text, in which the addresses of this API are links."""
    host = request.META.get("HTTP_HOST", "")

    def link(found: re.Match[str]) -> str:
        if found["host"] not in {None, host}:
            return found[0]
        return f'&quot;<a href="{escape(_kept_to(request, unescape(found[1])))}">{found[1]}</a>&quot;'

    return mark_safe(_ADDRESS.sub(link, escape(text)))  # noqa: S308 - escaped, and the pattern lets no quote through


def _kept_to(request: Request, address: str) -> str:
    """The address for the project that the person has chosen."""
    project = request.query_params.get("project")
    if not project or "project=" in address:
        return address
    return f"{address}{'&' if '?' in address else '?'}{urlencode({'project': project})}"


def _forms(view: Any, request: Request) -> Iterator[dict[str, Any]]:
    if request.auth is None:
        return
    for method in _WRITING:
        if method in view.allowed_methods:
            yield {"method": method, "examples": [_shown(example) for example in _examples(view, request)]}
    if "DELETE" in view.allowed_methods:
        yield {"method": "DELETE", "examples": []}


def _examples(view: Any, request: Request) -> list[Example]:
    get_examples = getattr(view, "get_examples", None)
    return get_examples(request) if get_examples else []


def _shown(example: Example) -> dict[str, str]:
    return {
        "title": example.title,
        "body": _pretty(example.body),
        "schema": _pretty(dict(example.schema)) if example.schema else "",
    }
