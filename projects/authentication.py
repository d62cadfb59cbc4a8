"""Who is asking: a program with an API key, or a person of the staff with a session of the admin.

Every request of a program passes here, so the way of a key is one prepared statement and one HMAC. Nothing is
remembered between requests: a revoked key is refused by the very next one.
"""

import hmac
import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import DatabaseError, connection
from django.http import HttpRequest
from django.middleware.csrf import CsrfViewMiddleware
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from jobplatform.api.database import Statement
from jobplatform.api.parsers import check_content_type
from jobplatform.api.problems import Problem
from projects import keys, scopes, selectors
from projects.models import Project

log = logging.getLogger(__name__)

REALM = 'Bearer realm="jobplatform"'
_CHALLENGE = {"WWW-Authenticate": f'{REALM}, error="invalid_token"'}
NO_PROJECT = UUID(int=0)
"""The project of a person's request that is about no project, or made while there is none: no row has it."""

_ANONYMOUS = AnonymousUser()
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_FIND = Statement(
    "projects_apikey_find",
    """
    select project_id, hash, scopes,
           revoked_at is not null,
           expires_at is not null and expires_at <= (select platform_now()),
           last_used_at is null or last_used_at < now() - interval '1 minute'
    from projects_apikey where key_id = $1
    """,
)

# Whoever finds the row locked leaves it: the other one writes the same.
_TOUCH = """
update projects_apikey set last_used_at = now() where key_id = (
    select key_id from projects_apikey
    where key_id = %s and (last_used_at is null or last_used_at < now() - interval '1 minute')
    for update skip locked
)
"""

# Compared with when there is no such key, so that its absence takes as long to tell as a wrong secret.
_NO_HASH = rb"\x" + b"0" * 64


@dataclass(frozen=True, slots=True)
class Credential:
    """Whose request this is: `request.auth` of every view."""

    project_id: UUID
    key_id: str
    """Empty for a person."""
    scopes: frozenset[str]
    user_id: int | None = None
    """Set for a person of the staff."""
    name: str = ""

    @property
    def actor(self) -> str:
        """Who this is, as the audit record writes it."""
        return f"user:{self.name}" if self.user_id is not None else f"key:{self.key_id}"


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer jp_live_…`."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, Credential] | None:
        """The credential of the key, or None if none was given.

        Raises `Problem` 401: `invalid_api_key`, the same for everything that does not hold a valid secret, and
        `api_key_revoked` or `api_key_expired` for what does.
        """
        header = request.META.get("HTTP_AUTHORIZATION")
        if header is None:
            return None
        scheme, _, text = header.partition(" ")
        if scheme.lower() != "bearer":
            raise Problem(
                401, "invalid_api_key", "Send the API key as `Authorization: Bearer jp_live_…`.", headers=_CHALLENGE
            )
        return _ANONYMOUS, credential_of(text.strip(" "))

    def authenticate_header(self, request: Request) -> str:
        """The challenge of a 401."""
        return REALM


def credential_of(text: str) -> Credential:
    """The credential of a key. Raises `Problem` 401."""
    key_id = keys.key_id_of(text)
    if key_id is None:
        raise _invalid()
    row = _FIND.row(key_id.encode())
    project_id, kept, granted, revoked, expired, stale = row or (b"", _NO_HASH, b"{}", b"f", b"f", b"f")
    given = rb"\x" + keys.digest(text, settings.API_KEY_PEPPER).hex().encode()
    if not hmac.compare_digest(given, cast("bytes", kept)) or row is None:
        raise _invalid()
    if revoked == b"t":
        raise Problem(401, "api_key_revoked", "This API key was revoked.", headers=_CHALLENGE)
    if expired == b"t":
        raise Problem(401, "api_key_expired", "This API key has expired.", headers=_CHALLENGE)
    if stale == b"t":
        _touch(key_id)
    return Credential(_uuid(cast("bytes", project_id)), key_id, _scopes(cast("bytes", granted)))


def _touch(key_id: str) -> None:
    """Note that the key is in use. That it could not be noted is no reason to refuse the request."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(_TOUCH, [key_id])
    except DatabaseError as error:
        log.warning("The last use of key %s could not be noted: %s", key_id, error)


@lru_cache(maxsize=1024)
def _uuid(text: bytes) -> UUID:
    return UUID(text.decode())


@lru_cache(maxsize=1024)
def _scopes(array: bytes) -> frozenset[str]:
    """PostgreSQL's text of an array of scopes. They hold no quotes, commas or braces."""
    return frozenset(array.decode().strip("{}").split(",")) - {""}


def _invalid() -> Problem:
    return Problem(401, "invalid_api_key", "This API key is not valid.", headers=_CHALLENGE)


# ------------------------------------------------------------------------------------------------ people
class SessionAuthentication(BaseAuthentication):
    """A person of the staff, logged in to the admin, who acts for a project.

    Which one is said by `?project=` or the header `X-Project`, by id or slug.
    """

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, Credential] | None:
        """The credential of the session's user, or None for anybody else. Raises `Problem` (400, 403)."""
        http: HttpRequest = request._request  # noqa: SLF001 - Django REST framework has no other name for it
        user: Any = getattr(http, "user", None)
        if user is None or not (user.is_active and user.is_staff):
            return None
        if request.method not in _SAFE:
            _check_csrf(http)
        view = request.parser_context["view"]
        project_id = _chosen_project(request, needed=not getattr(view, "project_optional", False))
        return user, Credential(project_id, "", _scopes_of(user), user.pk, user.get_username())


class _CsrfCheck(CsrfViewMiddleware):
    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def _check_csrf(http: HttpRequest) -> None:
    if http.META.get("CONTENT_TYPE"):
        check_content_type(http.META["CONTENT_TYPE"])  # else Django reads a form out of the body, to find a token there
    check = _CsrfCheck(lambda _: None)  # type: ignore[arg-type]
    check.process_request(http)
    reason = check.process_view(http, None, (), {})  # type: ignore[arg-type]
    if reason:
        raise Problem(403, "csrf_failed", f"The request did not come from a page of this service: {reason}")


def _scopes_of(user: Any) -> frozenset[str]:
    if user.has_perm("projects.operate_project"):  # superusers have every permission
        # What a key or a project may do outlives the person's own permissions: as in the admin, it takes more.
        issuing = {
            "keys:write": "projects.add_apikey",
            "projects:write": "projects.add_project",
            "signers:write": "confirmations.pause_signer",
        }
        return scopes.ALL - {scope for scope, permission in issuing.items() if not user.has_perm(permission)}
    return scopes.READING if user.has_perm("projects.view_project") else frozenset()


def _chosen_project(request: Request, *, needed: bool) -> UUID:
    """The project that a person acts for. To look around, the first one will do; to change something, it is named."""
    name = request.query_params.get("project") or request.META.get("HTTP_X_PROJECT", "")
    if name:
        project = selectors.project_named(name)
        if project is None:
            raise Problem(400, "unknown_project", "No project has this id or slug.")
        return project.id
    if not needed:
        return NO_PROJECT
    first_two = list(Project.objects.order_by("id").values_list("id", flat=True)[:2])
    if len(first_two) > 1 and request.method not in _SAFE:
        raise Problem(400, "project_required", "There are several projects: name one by ?project= or X-Project.")
    return first_two[0] if first_two else NO_PROJECT
