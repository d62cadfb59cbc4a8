"""The load: clients that create jobs over HTTP, cancel some, retry dead letters and decide what is blocked.

What a client does, and in which order, comes from the seed. An answer that is lost on the way is asked for again, with
the same Idempotency-Key, until it comes.
"""

import datetime as dt
import http.client
import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.whole import kinds
from tests.chaos.whole.history import Journal
from tests.chaos.whole.kinds import Promise

PATIENCE = 180.0  # seconds that a request is repeated for
TIMEOUT = 15.0
FAR = 3600.0  # seconds ahead: a job that is to be cancelled before
REMEMBERED = 200
ACTIONS = ("resume", "retry", "skip", "supply")


class Api:
    """The HTTP API, as a program uses it that does not give up."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self._base = f"{base_url}/api/v1"
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
        self.lost = 0  # answers that did not come

    def ask(self, path: str, body: Any = None, *, key: str = "") -> tuple[int, Any, int]:
        """Send until there is an answer. Returns its status, its body and the number of tries; 0: there was none."""
        ends, tries = time.monotonic() + PATIENCE, 0
        while time.monotonic() < ends:
            tries += 1
            status, answer = self._once(path, body, key)
            if status and status < 500 and answer.get("code") != "idempotency_in_progress":
                return status, answer, tries
            self.lost += 1
            threading.Event().wait(min(1.0, 0.05 * 2**tries))
        return 0, {}, tries

    def _once(self, path: str, body: Any, key: str) -> tuple[int, Any]:
        headers = self._headers | ({"Idempotency-Key": key} if key else {})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._base}{path}", data=data, headers=headers)  # noqa: S310 - our own address
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310 - our own address
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            with refusal:
                try:
                    return refusal.code, json.load(refusal)
                except (OSError, ValueError, http.client.HTTPException):
                    return refusal.code, {}
        except (OSError, ValueError, http.client.HTTPException):  # refused, cut, timed out, half an answer
            return 0, {}


@dataclass(slots=True)
class _Waiting:
    """Jobs with a time ahead that are to be cancelled, and jobs that the client may come back to."""

    far: list[tuple[float, str]] = field(default_factory=list)
    recent: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)


class Client(threading.Thread):
    """One client. `pace`: requests a second."""

    def __init__(
        self, number: int, *, seed: str, api: Api, journal: Journal, pace: float, promises: Mapping[str, Promise]
    ) -> None:
        super().__init__(name=f"client{number}")
        self._number = number
        self._chance = random.Random(f"{seed}/client{number}")
        self._seed = seed
        self._api = api
        self._journal = journal
        self._pace = pace
        self._kinds = list(promises)
        self._shares = [promise.share for promise in promises.values()]
        self._stop_asked = threading.Event()
        self._made = 0
        self._mine = _Waiting()
        self.error: BaseException | None = None

    def run(self) -> None:
        """Work until asked to stop, then cancel what is still to be cancelled."""
        deeds: list[tuple[float, Callable[[], None]]] = [
            (52, self._post), (20, self._post_batch), (8, self._post_delayed), (6, self._post_far),
            (5, self._cancel), (3, self._retry), (3, self._decide), (3, self._read),
        ]  # fmt: skip
        weights = [weight for weight, _ in deeds]
        try:
            while not self._stop_asked.wait(self._chance.expovariate(self._pace)):
                self._chance.choices([deed for _, deed in deeds], weights)[0]()
                self._cancel_far()
            self._cancel_far(everything=True)
        except BaseException as error:  # noqa: BLE001 - raised again by whoever joins it
            self.error = error

    def stop(self) -> None:
        """Ask it to end; it has ended when it is joined."""
        self._stop_asked.set()

    # -- deeds

    def _job(self, **more: Any) -> dict[str, Any]:
        kind = self._chance.choices(self._kinds, self._shares)[0]
        self._made += 1
        made: dict[str, Any] = {
            "kind": kind,
            "payload": kinds.payload(kind, self._chance, n=self._made, client=self._number),
        }
        if self._chance.random() < 0.1:
            made["priority"] = self._chance.choice([-5, 5])
        return made | more

    def _create(self, path: str, jobs: list[dict[str, Any]], *, due_in: float = 0.0) -> list[str]:
        key = f"{self._seed}-{self._number}-{self._made}"
        for index, job in enumerate(jobs):
            job["metadata"] = {"key": key, "index": index}
        names = [job["kind"] for job in jobs]
        self._journal.write("asked", key=key, kinds=names, at=time.monotonic(), wall=time.time(), due_in=due_in)
        status, answer, tries = self._api.ask(path, {"jobs": jobs} if path.endswith("batch") else jobs[0], key=key)
        ids: list[str] | None = None
        if status == 202:
            made = answer["jobs"] if path.endswith("batch") else [answer]
            ids = [job.get("id", "") for job in made]
        self._journal.write("answered", key=key, status=status, ids=ids, tries=tries)
        for job_id, name in zip(ids or [], names, strict=False):
            if name in {"chaos.failing", "chaos.refused"}:
                self._mine.dead.append(job_id)
            elif not due_in:
                self._mine.recent.append(job_id)
        del self._mine.recent[:-REMEMBERED]
        return ids or []

    def _post(self) -> None:
        self._create("/jobs", [self._job()])

    def _post_batch(self) -> None:
        self._create("/jobs/batch", [self._job() for _ in range(self._chance.randint(2, 25))])

    def _post_delayed(self) -> None:
        seconds = round(self._chance.uniform(1, 8), 2)
        self._create("/jobs", [self._job(due_at=_ahead(seconds))], due_in=seconds)

    def _post_far(self) -> None:
        job = {"kind": "chaos.quick", "payload": {"n": -1}, "due_at": _ahead(FAR)}
        self._made += 1
        moment = time.monotonic() + self._chance.uniform(0.5, 10)
        self._mine.far += [(moment, job_id) for job_id in self._create("/jobs", [job], due_in=FAR)]

    def _cancel_far(self, *, everything: bool = False) -> None:
        now = time.monotonic()
        for moment, job_id in [item for item in self._mine.far if everything or item[0] <= now]:
            self._mine.far.remove((moment, job_id))
            self._act("cancel", job_id)

    def _cancel(self) -> None:
        if self._mine.recent:
            self._act("cancel", self._mine.recent.pop(self._chance.randrange(len(self._mine.recent))))

    def _retry(self) -> None:
        if len(self._mine.dead) > 5:
            self._act("retry", self._mine.dead.pop(0))

    def _act(self, what: str, job_id: str) -> None:
        status, _, _ = self._api.ask(f"/jobs/{job_id}/{what}", {"reason": "by chance"})
        self._journal.write("act", act=what, job=job_id, status=status, at=time.monotonic())

    def _decide(self) -> None:
        """A person looks at the inbox and decides about one."""
        _, page, _ = self._api.ask("/interventions?state=open")
        if found := page.get("results"):
            decide(self._api, self._journal, self._chance.choice(found), self._chance.choice(ACTIONS))

    def _read(self) -> None:
        """Somebody looks on."""
        if self._mine.recent:
            job_id = self._chance.choice(self._mine.recent)
            path = self._chance.choice(["", "/events", "/attempts", "/explain"])
            status, _, _ = self._api.ask(f"/jobs/{job_id}{path}")
            self._journal.write("act", act="read", job=job_id, status=status, at=time.monotonic())


def decide(api: Api, journal: Journal, intervention: Mapping[str, Any], action: str) -> None:
    """Resolve an intervention."""
    body = {"action": action, "reason": "by chance"} | ({"output": {"by": "hand"}} if action == "supply" else {})
    status, _, _ = api.ask(f"/interventions/{intervention['id']}/resolve", body)
    journal.write("act", act=action, job=intervention["subject_id"], status=status, at=time.monotonic())


def _ahead(seconds: float) -> str:
    return (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)).isoformat()
