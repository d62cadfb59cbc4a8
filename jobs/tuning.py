"""Settings of a kind that people change while it runs: what the code says holds wherever nothing else is set.

A row says what a kind is set to, and its version is the highest of the table. Each process compares that with the one
that it knows, every few seconds at most and only where it works anyway: a worker before it claims and while a handler
runs long, whoever takes back the jobs of the dead, the web process when it is asked about kinds. Then it puts tuned
copies of the kinds into its registry (`registry.tune`), so that everything that asks for a kind sees what rules.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import psycopg
import structlog
from django.db import connection, transaction
from django.db.models.functions import Now

from events import audit
from jobs import registry, store
from jobs.errors import InvalidOption, RegistrationError, SettingsChanged
from jobs.models import KindSettings
from jobs.policy import Batch, exponential
from jobs.registry import Kind
from jobs.store import Connection

logger = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0
"""How soon a process that works knows of a change."""
MOST_ATTEMPTS = 100
LONGEST = 86_400.0  # seconds; as for the timeout of one job


@dataclass(frozen=True, slots=True)
class Settings:
    """What a kind is set to; None: as its code says. `first`, `cap`, `timeout` and `expect` are seconds."""

    max_attempts: int | None = None
    first: float | None = None
    factor: float | None = None
    cap: float | None = None
    timeout: float | None = None
    batch: int | None = None
    expect: float | None = None
    priority: int | None = None

    def set(self) -> dict[str, float]:
        """What is set, without the rest."""
        return {name: value for name, value in asdict(self).items() if value is not None}


NAMES = tuple(field.name for field in fields(Settings))
ONCE_ONLY = ("max_attempts", "first", "factor", "cap", "batch")
_BOUNDS: Mapping[str, tuple[float, float, str]] = {
    "max_attempts": (1, MOST_ATTEMPTS, "1 to 100"),
    "batch": (1, 512, "1 to 512 jobs"),
    "priority": (-100, 100, "-100 to 100"),
    "timeout": (0.001, LONGEST, "0.001 to 86400 seconds"),
    "expect": (0.001, LONGEST, "0.001 to 86400 seconds"),
}


# ---------------------------------------------------------------------------------------------- values


def values_of(kind: Kind[Any]) -> Settings:
    """What a kind has, tuned or not, in the words of settings."""
    backoff = kind.retry.backoff
    return Settings(
        max_attempts=1 if kind.retry.one_shot else kind.retry.max_attempts,
        first=backoff.first,
        factor=backoff.factor,
        cap=backoff.cap,
        timeout=kind.timeout,
        batch=kind.batch.max,
        expect=kind.expect,
        priority=kind.priority,
    )


def tuned(kind: Kind[Any], settings: Settings) -> Kind[Any]:
    """The kind as these settings make it. `kind` is as its code says.

    Raises:
        InvalidOption: it cannot have such settings; `field` names the one that is wrong, where it is one.
    """
    return registry.tuned(kind, changes(kind, settings))


def changes(kind: Kind[Any], settings: Settings) -> dict[str, Any]:
    """Fields of a kind, and what these settings make of them. Raises `InvalidOption` as `tuned` does."""
    wanted = settings.set()
    if kind.retry.one_shot and (fixed := [name for name in ONCE_ONLY if name in wanted]):
        _refuse(fixed[0], f"{kind.name} runs once at most, and alone: that cannot be set.", code="one_shot_kind")
    for name, (least, most, words) in _BOUNDS.items():
        if name in wanted and not least <= wanted[name] <= most:  # also refuses what is not a number
            _refuse(name, f"{name} wants {words}.")
    made: dict[str, Any] = {name: wanted[name] for name in ("timeout", "expect", "priority") if name in wanted}
    if "batch" in wanted:
        made["batch"] = Batch(int(wanted["batch"]))
    if wanted.keys() & {"max_attempts", "first", "factor", "cap"}:
        made["retry"] = replace(
            kind.retry,
            max_attempts=int(wanted.get("max_attempts", kind.retry.max_attempts)),
            backoff=_backoff(kind, wanted),
        )
    try:
        registry.tuned(kind, made)
    except RegistrationError as error:
        raise InvalidOption(str(error), code="invalid_settings") from None
    return made


def _backoff(kind: Kind[Any], wanted: Mapping[str, float]) -> Any:
    code = kind.retry.backoff
    now = {name: wanted.get(name, getattr(code, name)) for name in ("first", "factor", "cap")}
    try:
        return exponential(now["first"], factor=now["factor"], cap=now["cap"])
    except ValueError:
        if now["first"] > now["cap"]:
            _refuse("cap", f"The first delay ({now['first']:g} s) is longer than the longest ({now['cap']:g} s).")
        wrong = "factor" if not 1 <= now["factor"] <= 1000 else "first"  # noqa: PLR2004 - the policy's own bounds
        _refuse(wrong, "A delay wants 0 seconds or more, at most a century, and a factor of 1 to 1000.")


def _refuse(field: str, message: str, *, code: str = "invalid_settings") -> Any:
    raise InvalidOption(message, code=code, field=f"/{field}")


# ---------------------------------------------------------------------------------------------- what rules


_guard = threading.Lock()
_look_at = 0.0
_known: tuple[int, int] | None = None  # the version, and how many kinds there were


def refresh(*, on: Connection | None = None) -> bool:
    """Look whether somebody has changed settings, if that was a while ago. Returns whether something changed.

    A comparison, unless it is time to look. `on`: a connection other than Django's.
    """
    return time.monotonic() >= _look_at and _look(on)


def current(kind: Kind[Any], *, on: Connection | None = None) -> Kind[Any]:
    """The kind as it is set now. As cheap as `refresh`; for who keeps a kind for long."""
    refresh(on=on)
    return registry.find(kind.name) or kind


def forget() -> None:
    """Look again at the next occasion, whatever is known. For who changed something, and for tests."""
    global _look_at, _known
    _look_at, _known = 0.0, None


def _look(on: Connection | None) -> bool:
    global _look_at, _known  # noqa: PLW0603 - as above
    if not _guard.acquire(blocking=False):  # another thread is at it
        return False
    try:
        _look_at = time.monotonic() + LOOK_SECONDS
        cur = psycopg.Cursor(on or store.connection_of_django())
        row = cur.execute("select coalesce(max(version), 0) from jobs_kindsettings").fetchone()
        known = (int(row[0]) if row else 0, len(registry.kinds()))
        if known == _known:
            return False
        names = ", ".join(NAMES)
        rows = cur.execute(f"select kind, {names} from jobs_kindsettings").fetchall()  # noqa: S608 - names of fields
        _apply({kind: Settings(*values) for kind, *values in rows})
        if _known is not None:
            logger.info("settings learned", handler="tuning", action="apply", details=f"version {known[0]}")
        _known = known
        return True
    finally:
        _guard.release()


def _apply(rows: Mapping[str, Settings]) -> None:
    """Have every kind of this process go by its row. A row that does not fit the code any more is passed over."""
    for kind in registry.kinds():
        declared = registry.declared(kind.name)
        try:
            made = changes(declared, rows.get(kind.name, Settings()))
        except InvalidOption as error:
            logger.warning("settings ignored", handler="tuning", action="apply", details=f"{kind.name}: {error}")
            made = {}
        registry.tune(kind.name, made)


# ---------------------------------------------------------------------------------------------- by hand


def of_row(row: KindSettings | None) -> Settings:
    """What a row says."""
    return Settings() if row is None else Settings(**{name: getattr(row, name) for name in NAMES})


def change(*, kind: str, settings: Settings, actor: str, reason: str, version: int | None = None) -> KindSettings:
    """Set a kind to this; `Settings()` is what its code says. It rules within seconds, everywhere.

    `version`: the one that the person has seen (0: none); another one refuses.

    Raises:
        UnknownKind: there is no such kind.
        InvalidOption: it cannot have such settings, or has them already (`nothing_to_change`).
        SettingsChanged: somebody else was faster.
    """
    changes(registry.declared(kind), settings)
    with transaction.atomic():
        # One after another, so that versions come in the order of their commits: nobody looks for a lower one again.
        with connection.cursor() as cur:
            cur.execute("lock table jobs_kindsettings in share row exclusive mode")
        old = KindSettings.objects.filter(kind=kind).first()
        if version is not None and version != (old.version if old else 0):
            raise SettingsChanged
        before = of_row(old)
        if before == settings:
            message = f"{kind} is set so already."
            raise InvalidOption(message, code="nothing_to_change")
        newest = KindSettings.objects.order_by("-version").values_list("version", flat=True).first() or 0
        row, _ = KindSettings.objects.update_or_create(
            kind=kind,
            defaults=asdict(settings)
            | {"version": newest + 1, "updated_at": Now(), "updated_by": actor, "reason": reason},
        )
        audit.record(
            action="kind.tune" if settings.set() else "kind.reset", actor=actor, subject_type="kind", subject_id=kind,
            reason=reason, data={"before": before.set(), "after": settings.set(), "version": row.version},
        )  # fmt: skip
    forget()
    return row
