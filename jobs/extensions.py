"""Where apps above the engine register what it must show or ask: stages, gates, sections, actions, invariants.

Each app registers in its `apps.py`. The engine calls what it finds here and knows nothing of who it is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from jobs.errors import RegistrationError

T = TypeVar("T")


class Registry(Generic[T]):
    """Named things of one sort, in the order of registration."""

    def __init__(self, noun: str) -> None:
        self._noun = noun
        self._things: dict[str, T] = {}

    def register(self, name: str, thing: T) -> T:
        """Add a thing under a name that is still free."""
        if name in self._things:
            message = f"The {self._noun} {name!r} is registered twice."
            raise RegistrationError(message)
        self._things[name] = thing
        return thing

    def get(self, name: str) -> T:
        """The thing of this name."""
        if name not in self._things:
            message = f"There is no {self._noun} {name!r}."
            raise RegistrationError(message)
        return self._things[name]

    def __len__(self) -> int:
        return len(self._things)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        return iter(self._things.items())

    def __contains__(self, name: object) -> bool:
        return name in self._things


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """What a gate sees of the jobs about to be created: how many, of which kind, for whom."""

    project_id: UUID
    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a gate refuses. `code` is stable and goes to the client."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Invariant:
    """A statement about the data that should yield no row: what it finds stands between two states."""

    title: str
    sql: str
    repair: Callable[[Sequence[Mapping[str, Any]]], int] | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person has decided, who it was and why. `payload` or `output`, where the action wants one."""

    action: str
    actor: str
    reason: str = ""
    payload: Mapping[str, Any] | None = None
    output: Any = None
    approved_by: str = ""  # the second person, where one is wanted


@dataclass(frozen=True, slots=True)
class Action:
    """Something that a person may do to a subject that waits for a decision.

    Registered as `<subject type>.<action>`. `wants`: `payload` or `output`, where it needs one. `act` runs in a
    transaction: it locks its subject, sees that the intervention is still open, does what is to be done, and resolves
    it. `preview` tells what `act` would do, and changes nothing. `suggest`: a value that would do, to begin with.
    """

    title: str
    explanation: str
    permission: str
    wants: str | None
    act: Callable[[Any, Decision], None]
    preview: Callable[[Any, Decision], Mapping[str, Any]]
    suggest: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """What beat does every so many seconds, in its own process: a few cheap statements. Several beats may do it."""

    seconds: float
    run: Callable[[], None]


Gate = Callable[[SubmitRequest], Refusal | None]
Section = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
PageSection = Callable[[Any], Mapping[str, Any] | None]
"""What the page of one job in the admin says beside; asked with the job's row, once a page and never by the API."""
Explain = Callable[[UUID, UUID], tuple[str, str] | None]
"""Why a job (its project, its id) stands in a stage that an app looks after: a stable code and a sentence."""

stages: Registry[Explain] = Registry("stage")
submit_gates: Registry[Gate] = Registry("submit gate")
job_sections: Registry[Section] = Registry("job section")
page_sections: Registry[PageSection] = Registry("page section")
intervention_actions: Registry[Action] = Registry("intervention action")
invariants: Registry[Invariant] = Registry("invariant")
rounds: Registry[Round] = Registry("round")
