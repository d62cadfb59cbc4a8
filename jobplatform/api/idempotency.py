"""`Idempotency-Key`: a creating request that is sent again creates nothing again.

After the IETF draft (draft-ietf-httpapi-idempotency-key-header-07), with the header optional. The first answer is kept
for 72 hours, written in the transaction that created the rows, so either both exist or neither:

    def post(self, request: ApiRequest) -> Response:
        ask = request.body_as(CreateThing)
        return idempotent(
            request,
            project_id=request.caller.project_id,
            route="POST /api/v1/things",
            fn=lambda: Response(show(create_thing(...)), status=201, headers={"Location": ...}),
        )

| the same key again | answer |
|---|---|
| same body, first finished | the first status and body, byte for byte, and `Idempotency-Replayed: true` |
| same body, first still under way | 409 `idempotency_in_progress`, at once |
| another body | 422 `idempotency_key_reused` |
| after a refusal (4xx) or a failure (5xx) | as if it were new: nothing was kept |

Table `api_idempotency` belongs to the ground; its model and migrations are those of the `jobs` app.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.db import connection, transaction
from rest_framework.response import Response

from jobplatform.api import database
from jobplatform.api.encoding import dumps
from jobplatform.api.problems import Problem
from jobplatform.api.views import ApiRequest

KEPT_HOURS = 72

# One round trip: the kept answer if there is one, else the lock, without waiting for it. The lock is taken only where
# no answer was seen, so replays do not get into one another's way. Its holder may have committed between this
# statement's snapshot and the lock: then the insert at the end finds the row, and all is undone and looked up again.
_LOOK = """
with kept as materialized (
    select status, location, body, sealed, body_sha256 from api_idempotency
    where project_id = %s and route = %s and key = %s and expires_at > (select platform_now())
)
select status, location, body, sealed, body_sha256, true from kept
union all
select null, null, null, null, null, pg_try_advisory_xact_lock(%s) where not exists (select from kept)
"""

_KEEP = """
insert into api_idempotency as old
    (project_id, route, key, body_sha256, status, location, body, sealed, created_at, expires_at)
values (%s, %s, %s, %s, %s, %s, %s, %s, (select platform_now()), (select platform_now()) + make_interval(hours => %s))
on conflict (project_id, route, key) do update
    set body_sha256 = excluded.body_sha256, status = excluded.status, location = excluded.location,
        body = excluded.body, sealed = excluded.sealed,
        created_at = excluded.created_at, expires_at = excluded.expires_at
    where old.expires_at <= excluded.created_at
returning 1
"""


_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')


@dataclass(frozen=True, slots=True)
class _Kept:
    """The first answer."""

    status: int
    location: str | None
    body: bytes


class _Overtaken(Exception):
    """Another request with this key committed while this one ran."""


def idempotent(
    request: ApiRequest,
    *,
    project_id: UUID,
    route: str,
    fn: Callable[[], Response],
    sealed: bool = False,
    key: str | None = None,
) -> Response:
    """Answer with `fn()`, or with what it answered the first time.

    Without the header, `fn` is simply called, and owns its transaction. With it, `fn` runs inside a transaction that
    also keeps the answer if its status is below 400. A refusal that `fn` raises undoes what it wrote; one that it
    returns as a response commits, and is not kept. `fn` may run twice if two requests meet, the first run being undone.

    `key` takes the place of the header's, for what is sent with an id of its own.
    `sealed` encrypts the kept answer: for those that show a secret, which must not be found in the database.
    Raises `Problem`: 400 `invalid_idempotency_key`, 409 `idempotency_in_progress`, 422 `idempotency_key_reused`.
    """
    if key is None:
        header = request.META.get("HTTP_IDEMPOTENCY_KEY")
        if header is None:
            return fn()
        key = key_of(header)
    slot = _Slot(project_id, route, key, hashlib.sha256(request.raw_body).digest(), sealed)
    return database.retry_transient(lambda: _answer(slot, fn))


def key_of(header: str) -> str:
    """The key in a header: bare (`a1-b2`) or a quoted string (`"a1-b2"`), 1 to 255 visible ASCII characters."""
    text = header.strip(" \t")
    if quoted := _QUOTED.fullmatch(text):
        text = re.sub(r'\\(["\\])', r"\1", quoted[1])
    elif text.startswith('"'):
        text = ""  # a quote that is not closed
    if not _VISIBLE.fullmatch(text):
        raise Problem(
            400, "invalid_idempotency_key", "Idempotency-Key is 1 to 255 visible ASCII characters, bare or in quotes."
        )
    return text


@dataclass(frozen=True, slots=True)
class _Slot:
    """Where one request's answer is kept, and what is kept of the request."""

    project_id: UUID
    route: str
    key: str
    body_sha256: bytes
    sealed: bool

    @property
    def lock(self) -> int:
        """The number of the advisory lock: 64 bits of a hash, so that two slots hardly ever share one."""
        name = f"api_idempotency\0{self.project_id}\0{self.route}\0{self.key}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)

    def look(self) -> _Kept | None:
        """The kept answer, or None and the lock is ours. Raises `Problem` 409 or 422."""
        with connection.cursor() as cursor:
            cursor.execute(_LOOK, [self.project_id, self.route, self.key, self.lock])
            status, location, body, sealed, body_sha256, ours = cursor.fetchone()
        if status is not None:
            if not hmac.compare_digest(bytes(body_sha256), self.body_sha256):
                sentence = "This Idempotency-Key was used with another body. Take a new key for a new request."
                raise Problem(422, "idempotency_key_reused", sentence)
            return _Kept(status, location, _open(bytes(body)) if sealed else bytes(body))
        if not ours:
            sentence = "The first request with this Idempotency-Key is still under way. Try again in a moment."
            raise Problem(409, "idempotency_in_progress", sentence, headers={"Retry-After": "1"})
        return None

    def keep(self, answer: _Kept) -> None:
        """Store the first answer. Raises `_Overtaken` if somebody else's is there."""
        body = _seal(answer.body) if self.sealed else answer.body
        values: list[Any] = [
            self.project_id,
            self.route,
            self.key,
            self.body_sha256,
            answer.status,
            answer.location,
            body,
        ]
        with connection.cursor() as cursor:
            cursor.execute(_KEEP, [*values, self.sealed, KEPT_HOURS])
            if cursor.fetchone() is None:
                raise _Overtaken


def _answer(slot: _Slot, fn: Callable[[], Response]) -> Response:
    try:
        return _answer_in_transaction(slot, fn)
    except _Overtaken:
        return _answer_in_transaction(slot, fn)


def _answer_in_transaction(slot: _Slot, fn: Callable[[], Response]) -> Response:
    with transaction.atomic():
        if kept := slot.look():
            return _response(kept, replayed=True)
        response = fn()
        if response.status_code >= 400:  # noqa: PLR2004 - where refusals begin
            return response
        kept = _Kept(response.status_code, response.headers.get("Location"), dumps(response.data))
        slot.keep(kept)
        # Shown from the same bytes as every replay.
        response.data = orjson.Fragment(kept.body)
        return response


def _response(kept: _Kept, *, replayed: bool) -> Response:
    headers = {"Idempotency-Replayed": "true"} if replayed else {}
    if kept.location:
        headers["Location"] = kept.location
    return Response(orjson.Fragment(kept.body), status=kept.status, headers=headers)


# ------------------------------------------------------------------------------------------------ answers with a secret
_NONCE_BYTES = 12


def _cipher() -> AESGCM:
    return AESGCM(hmac.digest(settings.API_KEY_PEPPER.encode(), b"api_idempotency", "sha256"))


def _seal(body: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + _cipher().encrypt(nonce, body, None)


def _open(sealed: bytes) -> bytes:
    try:
        return _cipher().decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None)
    except InvalidTag:
        sentence = "The first answer held a secret and can no longer be read, as the platform's own key has changed."
        raise Problem(409, "idempotency_unreadable", sentence) from None
