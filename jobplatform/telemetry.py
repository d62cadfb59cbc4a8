"""What the platform says about itself: log lines and metrics.

Logs: one line per event, as JSON with the fields `handler`, `action` and `details` for machines, or as
`[handler] action: details` for people. Whatever is logged comes out on a single line with its control characters
escaped, cut to a bearable length, and without secrets. The lines of Django, Celery, granian and every library take the
same way, as everything ends in the standard library's `logging`. Within a handler each line names the job.

    log = structlog.get_logger("backup.export")
    log.info("dump written", bytes=size)
    # {"time":"2026-11-22T06:00:00.123456Z","level":"info","handler":"backup.export","action":"dump written",
    #  "details":"","bytes":3,"job":"…","kind":"backup.export","attempt":1,"project":"…"}
    # 06:00:00 info    [backup.export] dump written: bytes=3 job=… kind=backup.export attempt=1 project=…

Metrics: the Prometheus text format at an address for the monitoring alone (`metrics_response`).
"""

import hmac
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson
import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

Event = MutableMapping[str, Any]

LONGEST_VALUE = 8 * 1024  # characters of one value of a line
LONGEST_NAME = 100
MOST_SCRUBBED = 128 * 1024
MOST_ITEMS = 100
SCRUBBED = "[scrubbed]"

# ------------------------------------------------------------------------------------------------ secrets
# Names whose values are never shown, wherever they stand: as a field of an event, or as name=value within a text.
_SENSITIVE = (
    r"cookie|set-cookie|password|passwd|pwd|passphrase|secret[_-]?key|client[_-]?secret|secret|pepper"
    r"|api[_-]?key|access[_-]?key|audit[_-]?key|private[_-]?key|csrf\w*token|token|sessionid|signature|credentials?"
)
_SENSITIVE_FIELD = re.compile(rf"(?:.*[_-])?(?:{_SENSITIVE}|authorization)", re.IGNORECASE)
_QUOTED_OR_WORD = r"(?:\\?\"(?:[^\"\\]|\\.)*\"?|\\?'(?:[^'\\]|\\.)*'?|[^\s,;&)}\]\"']+)"

# Each pattern and what it becomes. What tells which secret it was (a key id, a user) may stay.
_SCRUBBERS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(jp_live_[a-z2-7]{12})_[0-9A-Za-z]+"), rf"\1_{SCRUBBED}"),
    (re.compile(r"whsec_[A-Za-z0-9+/=_-]{8,}"), f"whsec_{SCRUBBED}"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), SCRUBBED),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"), SCRUBBED),  # JSON web tokens
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), SCRUBBED),
    # postgresql://user:password@host, redis://:password@host …
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://[^\s/:@\"']*):[^\s/\"']+@", re.IGNORECASE), rf"\1:{SCRUBBED}@"),
    # Authorization: Bearer …, "Authorization": "Basic …"
    (
        re.compile(r"(authorization\\?[\"']?\s*[=:,]\s*\\?[\"']?(?:[a-z]+\s+)?)[^\s,;\"'\\]+", re.IGNORECASE),
        rf"\1{SCRUBBED}",
    ),
    (re.compile(r"\b(Bearer|Basic)\s+(?!\[scrubbed)[^\s,;\"'\\]{8,}", re.IGNORECASE), rf"\1 {SCRUBBED}"),
    # password=…, "secret": "…", 'token': '…'
    (
        re.compile(
            rf"((?:\b|_|-)(?:{_SENSITIVE})\b\\?[\"']?\s*[=:]\s*)(?!{re.escape(SCRUBBED)}){_QUOTED_OR_WORD}",
            re.IGNORECASE,
        ),
        rf"\1{SCRUBBED}",
    ),
)
# A text without any of these holds nothing that the patterns above find; most texts stop here.
_SUSPICIOUS = re.compile(
    r"jp_live_|whsec_|bearer|basic|token|://|AKIA|ASIA|eyJ|authorization|cookie|passw|pwd|passphrase|secret|pepper|key"
    r"|sessionid|signature|credential",
    re.IGNORECASE,
)


def scrubbed(text: str) -> str:
    """The text without what looks like a secret."""
    if not _SUSPICIOUS.search(text):
        return text
    for pattern, instead in _SCRUBBERS:
        text = pattern.sub(instead, text)
    return text


# ------------------------------------------------------------------------------------------------ one line
# C0, DEL and C1 controls, line and paragraph separators, marks that turn the direction of text, halves of surrogates.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def one_line(text: str) -> str:
    """The text on one line and in its place: control characters are escaped, as a newline to backslash and n."""
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")  # noqa: PLR2004 - one byte


def _cut(text: str) -> str:
    """The head and the tail of a long text: of a traceback, where it began and what it ended with."""
    if len(text) <= LONGEST_VALUE:
        return text
    half = LONGEST_VALUE // 2
    return f"{text[:half]} … {len(text)} characters … {text[-half:]}"


def safe(value: Any, *, name: str = "", depth: int = 6) -> Any:
    """A value as it may be logged: texts scrubbed, cut and escaped, containers item by item, the rest by its `str`."""
    if name and value and value is not True and _SENSITIVE_FIELD.fullmatch(name[:LONGEST_NAME]):
        return SCRUBBED
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            # Scrubbed before it is cut: half a secret is still one. Beyond the most that is scrubbed nothing is shown.
            return one_line(_cut(scrubbed(value[:MOST_SCRUBBED])))
        case _ if depth == 0:
            return "…"
        case Mapping():
            pairs = list(value.items())[:MOST_ITEMS]
            return {safe(str(key)): safe(item, name=str(key), depth=depth - 1) for key, item in pairs}
        case list() | tuple() | set() | frozenset():
            return [safe(item, name=name, depth=depth - 1) for item in list(value)[:MOST_ITEMS]]
        case _:
            return safe(str(value))


def make_safe(_logger: Any, _method: str, event: Event) -> Event:
    """A structlog processor: every name and value of the event made safe."""
    return {str(safe(str(name))): safe(value, name=str(name)) for name, value in event.items()}


# ------------------------------------------------------------------------------------------------ events
def _add_time(_logger: Any, _method: str, event: Event) -> Event:
    event["time"] = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return event


def _add_exception(_logger: Any, _method: str, event: Event) -> Event:
    """The traceback as a text, from the exception of structlog's `exc_info` or of a record of `logging`."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if isinstance(info, tuple) and info[1] is not None:
        event["exception"] = "".join(traceback.format_exception(*info))
    return event


def _add_parts(_logger: Any, _method: str, event: Event) -> Event:
    """Who did what: the fields `handler`, `action` and `details`, whichever way the line was written.

    `warning("database away", handler="relay", action="wait", details=error)` says all three, and its sentence begins
    the details. Without an action the sentence is the action, and the other fields are the details; a line of the
    standard library is named by the function that wrote it.
    """
    record, foreign = event.get("_record"), not event.get("_from_structlog")
    said, name, details = event.pop("event", ""), event.pop("logger", ""), event.pop("details", "")
    parts: Event = {"handler": event.pop("handler", "") or name, "action": event.pop("action", ""), "details": details}
    if parts["action"]:
        parts["details"] = f"{said}: {details}" if said and details else said or details
    elif foreign:
        parts["action"] = getattr(record, "funcName", None) or "log"
        parts["details"] = said
    else:
        parts["action"] = said
    return {**parts, **event}


def _as_json(_logger: Any, _method: str, event: Event) -> str:
    line = {name: event.pop(name) for name in ("time", "level") if name in event}
    return orjson.dumps({**line, **event}, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _as_text(_logger: Any, _method: str, event: Event) -> str:
    """`06:00:00 info    [handler] action: details`."""
    clock = str(event.pop("time", ""))[11:19]
    level, handler, action, said = (str(event.pop(field, "")) for field in ("level", "handler", "action", "details"))
    details = " ".join([said, *(f"{field}={value}" for field, value in event.items())]).strip()
    return f"{clock} {level:<7} [{handler}] {action}{': ' if details else ''}{details}"


_contexts: list[Callable[[], Mapping[str, Any]]] = []


def add_context(context: Callable[[], Mapping[str, Any]]) -> None:
    """Have fields added to each line, as `context()` tells them at that moment. What the line says itself stays."""
    _contexts.append(context)


def _add_context(_logger: Any, _method: str, event: Event) -> Event:
    for context in _contexts:
        for name, value in context().items():
            event.setdefault(name, value)
    return event


_SHARED: tuple[Callable[..., Any], ...] = (
    structlog.contextvars.merge_contextvars,
    _add_context,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
)


def configure(log_format: str = "json", level: str = "INFO") -> dict[str, Any]:
    """Set structlog up and return the dictionary for `logging.config.dictConfig` (Django's setting `LOGGING`).

    `log_format` is `json` or `console`. Everything goes to standard error, one line per event; warnings of Python too.
    """
    if log_format not in {"json", "console"}:
        message = f"LOG_FORMAT must be json or console, not {log_format!r}."
        raise ValueError(message)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": partial(formatter, log_format)}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Django brings handlers of its own, one of which mails; its lines go the common way instead.
            "django": {"handlers": [], "level": level, "propagate": True},
            "django.server": {"handlers": [], "level": level, "propagate": True},
            # Every refusal of a request is a warning to Django. Clients are told; the log keeps what is our fault.
            "django.request": {"level": "ERROR"},
            # Anybody can send any Host header, as often as he likes.
            "django.security.DisallowedHost": {"level": "CRITICAL"},
        },
    }


def formatter(log_format: str) -> logging.Formatter:
    """The formatter of all lines, for handlers that are not set up by `configure`, such as Celery's."""
    render = _as_json if log_format == "json" else _as_text
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[
            _add_parts,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _add_time,
            _add_exception,
            make_safe,
            render,
        ],
    )


def line() -> logging.Formatter:
    """The same for granian, which sets its log up before there are settings (jobplatform/granian.json)."""
    return formatter(os.environ.get("LOG_FORMAT") or "json")


# ------------------------------------------------------------------------------------------------ metrics
class _Collected(Collector):
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()

    def describe(self) -> Iterable[Metric]:
        return ()  # else registering would collect, and so ask the database at boot


def register_metrics(collect: Callable[[], Iterable[Metric]], registry: CollectorRegistry = REGISTRY) -> None:
    """Have `collect` asked at every scrape. It yields metric families of `prometheus_client.core`."""
    registry.register(_Collected(collect))


def metrics_response(request: HttpRequest, registry: CollectorRegistry = REGISTRY) -> HttpResponse:
    """The metrics in Prometheus' text format, or 401: see `may_see_metrics`."""
    if not may_see_metrics(request):
        body = {"type": "urn:jobplatform:problem:not_authenticated", "title": "Not authenticated", "status": 401}
        body |= {"detail": "Metrics are for the monitoring: send its token.", "code": "not_authenticated"}
        refusal = HttpResponse(orjson.dumps(body), status=401, content_type="application/problem+json")
        refusal["WWW-Authenticate"] = 'Bearer realm="metrics"'
        return refusal
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def may_see_metrics(request: HttpRequest) -> bool:
    """Whether the request shows the token or, where none is set, comes from this machine and through no proxy."""
    token: str = settings.METRICS_TOKEN
    if token:
        given = request.META.get("HTTP_AUTHORIZATION", "").encode()
        return hmac.compare_digest(given, f"Bearer {token}".encode())
    forwarded = any(name in request.META for name in ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP"))
    return request.META.get("REMOTE_ADDR") in {"127.0.0.1", "::1"} and not forwarded
