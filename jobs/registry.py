"""Handlers by their stable names. A wrong registration stops the boot."""

import inspect
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, Protocol, TypeVar
from uuid import UUID

from pydantic import BaseModel, PydanticUserError

from jobs.errors import RegistrationError, UnknownKind
from jobs.failures import is_code
from jobs.outcomes import Block, Cancel, Outcome, Park, Reject, RetryIn
from jobs.policy import LONGEST_WAIT, Batch, Lane, Limit, Retry, Unique, Wait
from jobs.run import Run

P = TypeVar("P", bound=BaseModel)

Confirm = Literal["never", "optional", "single", "batch", "anchor"]
Answer = type[Reject | Cancel] | Wait | RetryIn | Park | Block | Reject | Cancel | Retry
Handle = Callable[[Run[Any]], Outcome] | Callable[[Run[Any]], Awaitable[Outcome]]

LONG = 1.0  # seconds; a kind expected to run this long announces job.processing at its claim
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+\Z")


class Submit(Protocol):
    """How `.enqueue` reaches the engine; bound at boot, so that handlers' modules need no database."""

    def __call__(
        self, kind: "Kind[Any]", payload: Mapping[str, Any], *, project_id: UUID | None, options: Mapping[str, Any]
    ) -> UUID:
        """Submit one job and return its id."""


class Running(Protocol):
    """A job whose handler runs."""

    id: UUID
    kind: str
    attempt: int
    project_id: UUID


current_job: ContextVar[Running | None] = ContextVar("current_job", default=None)


def context() -> Mapping[str, Any]:
    """What a line of the log says of the job whose handler writes it."""
    job = current_job.get()
    if job is None:
        return {}
    return {"job": job.id, "kind": job.kind, "attempt": job.attempt, "project": job.project_id}


@dataclass(frozen=True, slots=True)
class Kind(Generic[P]):
    """A registered handler with its policies. Call `.enqueue(**payload)` to create a job of it."""

    name: str
    handle: Handle
    payload: type[P]
    retry: Retry
    errors: Mapping[type[BaseException], Answer]
    timeout: float
    expect: float | None
    confirm: Confirm
    batch: Batch
    unique: Unique | None
    queue: str
    priority: int
    public: bool
    is_async: bool
    window: int
    title: str
    description: str
    example: Mapping[str, Any] | None = field(default=None)
    lane: Lane = field(default=Lane())
    cancel_grace: float = 30.0
    limit: Limit | None = None
    second_person: bool = False
    keep_dead: float | None = None
    declared: "Kind[P] | None" = field(default=None, repr=False, compare=False)  # of a tuned one: what the code says

    @property
    def announces(self) -> bool:
        """Whether `job.processing` is published at the claim."""
        return self.expect is not None and self.expect >= LONG

    def __call__(self, job: Run[P]) -> Any:
        """Call the handler itself, as a test does."""
        return self.handle(job)

    def enqueue(
        self, *, project_id: UUID | None = None, options: Mapping[str, Any] | None = None, **payload: Any
    ) -> UUID:
        """Create a job in the caller's transaction and return its id.

        Inside a handler the project is that of the running job; elsewhere `project_id` must be given.
        `options` are those of `jobs.services.submit` (`due_at`, `priority`, `metadata`, ...).

        Raises:
            InvalidPayload: the payload does not fit the kind.
        """
        if _submit is None:
            message = "The engine is not set up: call django.setup() first."
            raise RegistrationError(message)
        if project_id is None and (running := current_job.get()) is not None:
            project_id = running.project_id
        return _submit(self, payload, project_id=project_id, options=options or {})

    def answer_to(self, error: BaseException) -> Answer | None:
        """What `errors=` says of this error: the entry of its nearest class, or None."""
        for cls in type(error).__mro__:
            if cls in self.errors:
                return self.errors[cls]
        return None


_submit: Submit | None = None
_kinds: dict[str, Kind[Any]] = {}
_uses_of_queues: list[Callable[[str], object]] = []


def bind(submit: Submit) -> None:
    """Tell `.enqueue` how to create a job. Called once, at boot."""
    global _submit  # noqa: PLW0603 - the one late binding between the face and the engine
    _submit = submit


def handler(  # long: one option a line, and each once more where it is kept
    name: str,
    *,
    payload: type[P],
    retry: Retry | None = None,
    errors: Mapping[type[BaseException], Answer] | None = None,
    timeout: float = 300.0,
    cancel_grace: float = 30.0,
    expect: float | None = None,
    confirm: Confirm = "optional",
    batch: Batch | None = None,
    unique: Unique | None = None,
    lane: Lane | str | None = None,
    limit: Limit | None = None,
    queue: str = "default",
    priority: int = 0,
    public: bool = True,
    window: int = 50,
    example: Mapping[str, Any] | None = None,
    second_person: bool = False,
    keep_dead: float | None = None,
) -> Callable[[Handle], Kind[P]]:
    """Register the decorated function as the handler of the kind `name` (`noun.verb`).

    Args:
        name: the stable name: it is stored with every job.
        payload: a Pydantic model; what does not fit is refused at submission.
        retry: attempts and backoff. `Retry.never()`: one run at most.
        errors: what an exception means: `Reject`, `Wait(seconds)`, another `Retry`, ... The nearest class wins.
        timeout: seconds that one attempt may take.
        cancel_grace: seconds that a running handler has to end by itself when somebody cancels its job.
        expect: seconds that are normal; from 1 s on `job.processing` is published at the claim.
        confirm: whether the result goes on chain: never | optional | single | batch | anchor.
        batch: how many jobs one claim may take.
        unique: at most one job with the same key.
        lane: strict order among jobs of the same key: a `Lane`, or the name of the payload field that is the key.
        limit: how many jobs with the same key run at once, and how many start in a time.
        queue: the Celery queue, that is, which workers run it.
        priority: default priority, -100 to 100; higher runs first.
        public: whether it may be created over HTTP.
        window: how many jobs of an `async def` handler one worker process runs at the same time.
        example: a payload that fits; shown in the documentation and in forms.
        second_person: what is decided about a blocked job of it, somebody else must approve.
        keep_dead: for how many days its dead letters are kept; without it, for good.

    Raises:
        RegistrationError: the name is taken or malformed, or the options contradict one another.
    """

    def register(function: Handle) -> Kind[P]:
        policy = retry or Retry()
        kind = Kind(
            name=name,
            handle=function,
            payload=payload,
            retry=policy,
            errors=dict(errors or {}),
            timeout=float(timeout),
            expect=expect,
            confirm=confirm,
            batch=Batch(1) if policy.one_shot else batch or Batch(),
            unique=unique,
            lane=Lane((lane,)) if isinstance(lane, str) else lane or Lane(),
            limit=limit,
            cancel_grace=float(cancel_grace),
            queue=queue,
            priority=priority,
            public=public,
            is_async=inspect.iscoroutinefunction(function),
            window=1 if policy.one_shot else window,
            **_described(function, name),
            example=example,
            second_person=second_person,
            keep_dead=keep_dead,
            declared=None,
        )
        _enter(kind)
        return kind

    return register


def for_each_queue(use: Callable[[str], object]) -> None:
    """Have `use` called with the queue of every kind: of those there are now, and of each that is registered later.

    It is called with the same queue again and again.
    """
    _uses_of_queues.append(use)
    for queue in sorted({kind.queue for kind in _kinds.values()}):
        use(queue)


def wrap_handlers(wrap: Callable[[Handle], Handle]) -> None:
    """Have every handler of this process called through `wrap(handler)`."""
    for name, kind in _kinds.items():
        handle, code = wrap(kind.handle), kind.declared
        _kinds[name] = replace(kind, handle=handle, declared=code and replace(code, handle=handle))


def declared(name: str) -> Kind[Any]:
    """The kind of this name as its code says, whatever it is tuned to. Raises `UnknownKind`."""
    kind = get(name)
    return kind.declared or kind


def tuned(kind: Kind[Any], changes: Mapping[str, Any]) -> Kind[Any]:
    """A copy of a declared kind with other values in these fields; with none, the kind itself.

    Raises:
        RegistrationError: its author could not have registered it so.
    """
    if not changes:
        return kind
    copy = replace(kind, **changes, declared=kind)
    if kind.retry.one_shot and (copy.retry, copy.batch, copy.window) != (kind.retry, kind.batch, kind.window):
        message = f"Kind {kind.name!r}: it runs once at most, and alone; no setting changes that."
        raise RegistrationError(message)
    _validate(copy)
    return copy


def tune(name: str, changes: Mapping[str, Any]) -> None:
    """From now on, in this process, the kind of this name has these values in these fields; none: the code's alone.

    Raises:
        UnknownKind: none is registered.
        RegistrationError: its author could not have registered it so. It stays as it was.
    """
    _kinds[name] = tuned(declared(name), changes)


def _described(function: Handle, name: str) -> dict[str, str]:
    text = inspect.getdoc(function) or ""
    return {"title": (text or name).splitlines()[0], "description": text}


def _enter(kind: Kind[Any]) -> None:
    if kind.name in _kinds:
        known = getattr(_kinds[kind.name].handle, "__module__", "?")
        again = getattr(kind.handle, "__module__", "?")
        message = f"Kind {kind.name!r}: it is registered twice, in {known} and in {again}."
        raise RegistrationError(message)
    _validate(kind)
    _kinds[kind.name] = kind
    for use in _uses_of_queues:
        use(kind.queue)


def _validate(kind: Kind[Any]) -> None:
    def refuse(why: str) -> None:
        message = f"Kind {kind.name!r}: {why}"
        raise RegistrationError(message)

    if not _NAME.match(kind.name) or len(kind.name) > 100:  # noqa: PLR2004 - the column's width
        refuse("a name is noun.verb in lower case, at most 100 characters.")
    _validate_payload(kind.payload, refuse)
    for error, answer in kind.errors.items():
        _validate_answer(kind, error, answer, refuse)
    if not kind.timeout > 0:
        refuse("timeout= wants more than 0 seconds.")
    if not kind.cancel_grace >= 0:
        refuse("cancel_grace= wants 0 seconds or more.")
    if kind.keep_dead is not None and not kind.keep_dead > 0:
        refuse("keep_dead= wants more than 0 days.")
    if not -100 <= kind.priority <= 100:  # noqa: PLR2004 - the documented range
        refuse("priority= wants -100 to 100.")
    _validate_keys(kind, refuse)
    if kind.example is not None:
        try:
            kind.payload.model_validate(kind.example)
        except ValueError as error:
            refuse(f"its example does not fit its payload: {error}")


def _validate_keys(kind: Kind[Any], refuse: Callable[[str], None]) -> None:
    keys = [("lane", kind.lane.by)] if kind.lane.by else []
    if kind.unique is not None:
        keys.append(("unique", kind.unique.by))
    if kind.limit is not None:
        _validate_limit(kind, kind.limit, refuse)
        if kind.limit.by:
            keys.append(("limit", kind.limit.by))
    for option, by in keys:
        if missing := [name for name in by if name not in kind.payload.model_fields]:
            refuse(f"{option}= names {missing}, which the payload does not have.")
        elif _has_sets(kind.payload, by):
            refuse(f"{option}= looks at a set, which has no order and so no key; use a list.")


def _validate_limit(kind: Kind[Any], limit: Limit, refuse: Callable[[str], None]) -> None:
    if isinstance(limit.weight, str) and limit.weight not in kind.payload.model_fields:
        refuse(f"limit= takes its weight from {limit.weight!r}, which the payload does not have.")
    if limit.concurrency == 0:
        refuse("limit= wants a concurrency of 1 or more; pause the kind to stop it.")
    for other in _kinds.values():
        if other.limit is None or (limit.name or kind.name) != (other.limit.name or other.name):
            continue
        bounds = [(one.concurrency, one.a_second, one.at_once, one.across_projects) for one in (limit, other.limit)]
        if bounds[0] != bounds[1]:
            refuse(f"limit= has the name of the limit of {other.name!r}, but other bounds.")


def _validate_payload(payload: Any, refuse: Callable[[str], None]) -> None:
    if not (inspect.isclass(payload) and issubclass(payload, BaseModel)):
        refuse("payload= wants a Pydantic model.")
    try:
        payload.model_json_schema()
    except PydanticUserError as error:
        refuse(f"its payload has no JSON schema, which the API shows: {error.message}")


def _has_sets(payload: type[BaseModel], fields: Sequence[str]) -> bool:
    """Whether some of these fields (none: all), or a model that the payload holds, are sets."""
    schema = payload.model_json_schema()
    chosen = [part for name, part in schema.get("properties", {}).items() if not fields or name in fields]
    return '"uniqueItems": true' in json.dumps([chosen, schema.get("$defs")])


def _validate_answer(
    kind: Kind[Any], error: type[BaseException], answer: Answer, refuse: Callable[[str], None]
) -> None:
    again = isinstance(answer, Wait | RetryIn | Park | Retry)
    if again and kind.retry.one_shot:
        refuse(f"it runs once at most, but errors= would run it again after {error.__name__}.")
    if isinstance(answer, RetryIn) and not 0 <= answer.seconds <= LONGEST_WAIT:
        refuse(f"errors= wants a wait of 0 to {LONGEST_WAIT:g} seconds after {error.__name__}.")
    if isinstance(answer, Reject) and not is_code(answer.code):
        refuse(f"errors= wants a code in snake_case for {error.__name__}, not {answer.code!r}.")


def get(name: str) -> Kind[Any]:
    """The kind of this name.

    Raises:
        UnknownKind: none is registered.
    """
    try:
        return _kinds[name]
    except KeyError:
        message = f"No handler is registered for the kind {name!r}."
        raise UnknownKind(message, kind=name) from None


def find(name: str) -> Kind[Any] | None:
    """The kind of this name, or None."""
    return _kinds.get(name)


def kinds() -> tuple[Kind[Any], ...]:
    """All registered kinds, by name."""
    return tuple(_kinds[name] for name in sorted(_kinds))
