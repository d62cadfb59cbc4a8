"""`make demo`: real messages through the whole platform, and a table of what became of each.

Starts everything on this machine, posts good, bad and doubled messages over HTTP, one whose storage fails twice and
one whose storage never answers, and waits until each has ended. Then results go on chain (jobplatform/demo_chain.py),
and dead letters of an incident come back under control (jobplatform/demo_incident.py).
Exits 0 when everything went as it should; on a terminal it then stays up until Ctrl-C.
"""

import argparse
import datetime as dt
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.live import Live
from rich.table import Table

from jobplatform import demo_chain, demo_incident
from jobplatform.runfile import RunInfo
from jobplatform.supervisor import Stack, StackError

FAILS_TWICE = "fa110002"  # as in jobplatform/demo_storage.py, which needs Django
FAILS_ALWAYS = "fa11ffff"
PROVIDER_DOWN = "provider-is-down"  # a file of the data directory, as jobplatform/demo_orders.py reads it
PATIENCE_SECONDS = 90.0
LOOK_SECONDS = 0.2
SIGNS = {"processed": "✔ processed", "failed": "✘ failed", "rejected": "✘ rejected", "received": "… received"}


@dataclass
class Case:
    """One message of the demo: what is sent, what must become of it, and what did."""

    title: str
    message_id: str
    expect: str  # the HTTP status, or the status of the message at the end
    body: bytes
    answer: int = 0
    code: str = ""
    id: str = ""
    status: str = ""
    attempts: int = 0
    error: str = ""
    began: float = field(default_factory=time.monotonic)
    took: float = 0.0

    @property
    def open(self) -> bool:
        """Whether it is still on its way."""
        return bool(self.id) and self.status not in {"processed", "failed", "rejected"}

    @property
    def right(self) -> bool:
        """Whether it went as it should."""
        return self.expect == (self.status if self.expect.isalpha() else str(self.answer))


def body(company: str, message_id: str, amount: str, **changes: Any) -> bytes:
    """A message as a shop would send it."""
    metadata = {
        "message_time": dt.datetime.now(dt.UTC).isoformat(),
        "company_id": company,
        "message_id": message_id,
    }
    data = {"order_id": str(uuid4()), "order_time": metadata["message_time"], "order_amount": amount}
    return json.dumps({"metadata": metadata | changes, "data": data}).encode()


def cases() -> list[Case]:
    """The messages of the demo."""
    company = str(uuid4())

    def named(prefix: str = "") -> str:
        name = str(uuid4())
        return prefix + name[len(prefix) :]

    good = [named() for _ in range(5)]
    sent = [
        Case(f"order {number + 1}", name, "processed", body(company, name, "19.90")) for number, name in enumerate(good)
    ]
    twice, never, bad = named(FAILS_TWICE), named(FAILS_ALWAYS), named()
    return [
        *sent,
        Case("the same message again", good[0], "200", sent[0].body),
        Case("the same id, another body", good[0], "409", body(company, good[0], "1000000.00")),
        Case("a bad time", bad, "422", body(company, bad, "1.00", message_time="yesterday")),
        Case("not JSON", "", "400", b'{"metadata": '),
        Case("storage fails twice", twice, "processed", body(company, twice, "7.00")),
        Case("storage never answers", never, "failed", body(company, never, "8.00")),
    ]


class Client:
    """Calls the API as any client would."""

    def __init__(self, info: RunInfo) -> None:
        self._base = f"{info.base_url}/api/v1"
        self._headers = {"Authorization": f"Bearer {info.api_key}", "Content-Type": "application/json"}

    def call(self, path: str, content: bytes | None = None) -> tuple[int, dict[str, Any]]:
        """GET, or POST when there is content. Returns the status and the decoded body."""
        request = urllib.request.Request(f"{self._base}{path}", data=content, headers=self._headers)  # noqa: S310 - our own
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own address
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, json.load(refusal)

    def post(self, case: Case) -> None:
        """Send one message."""
        case.began = time.monotonic()
        case.answer, answer = self.call("/messages", case.body)
        case.code = answer.get("code", "")
        if case.answer < HTTPStatus.BAD_REQUEST:
            case.id, case.status = answer["id"], answer["status"]

    def look(self, case: Case) -> None:
        """See how far one message is."""
        _, message = self.call(f"/messages/{case.id}")
        case.status = message["status"]
        _, job = self.call(f"/jobs/{message['job_id']}")
        case.attempts = job["attempt"]
        case.error = (job["error"] or {}).get("message", "")
        case.took = time.monotonic() - case.began


def table(sent: list[Case]) -> Table:
    """What became of each message."""
    shown = Table(title="Messages", title_justify="left")
    for name in ("message", "HTTP", "status", "attempts", "seconds", "what was said"):
        shown.add_column(name)
    for case in sent:
        mark = "" if case.open or case.right or not case.answer else " (unexpected)"
        shown.add_row(
            case.title,
            str(case.answer or ""),
            SIGNS.get(case.status, case.status) + mark,
            str(case.attempts or ""),
            f"{case.took:.1f}" if case.took else "",
            case.error or case.code,
        )
    return shown


def where(info: RunInfo, run_file: Path) -> Table:
    """Where to look next."""
    shown = Table(title="Where to look", title_justify="left", show_header=False)
    for name, link in (
        ("API", f"{info.base_url}/api/v1/messages"),
        ("documentation", info.docs_url),
        ("admin", f"{info.admin_url}  (user {info.admin_user}, password {info.admin_password})"),
        ("Flower", f"{info.flower_url}  (the same user)"),
        ("API key", info.api_key),
        *([("chain (JSON-RPC)", info.rpc_url)] if info.rpc_url else []),
        ("all of it", str(run_file)),
    ):
        shown.add_row(name, link)
    return shown


def follow(client: Client, sent: list[Case], console: Console) -> Iterator[None]:
    """Post the messages and yield after each change, until all have ended or patience has."""
    for case in sent:
        client.post(case)
        yield
    ends = time.monotonic() + PATIENCE_SECONDS
    while any(case.open for case in sent) and time.monotonic() < ends:
        for case in sent:
            if case.open:
                client.look(case)
        yield
        time.sleep(LOOK_SECONDS)
    if any(case.open for case in sent):
        console.print(f"After {PATIENCE_SECONDS:.0f} s some messages have not ended; see the log files.")


def show(info: RunInfo, run_file: Path, console: Console) -> bool:
    """Run the demo against a running platform. True when everything went as it should."""
    sent = cases()
    with Live(table(sent), console=console, refresh_per_second=8, transient=True) as live:
        for _ in follow(Client(info), sent, console):
            live.update(table(sent))
    console.print(table(sent))
    good = all(case.right for case in sent)
    if info.rpc_url is not None:
        good = show_chain(info, info.rpc_url, console) and good
    good = show_incident(info, run_file.parent / PROVIDER_DOWN, console) and good
    console.print(where(info, run_file), soft_wrap=True)
    return good


def show_chain(info: RunInfo, url: str, console: Console) -> bool:
    """Have results go on chain. True when all were confirmed and an outsider verified each proof."""
    settlements: list[demo_chain.Settlement] = []
    with Live(demo_chain.table([]), console=console, refresh_per_second=8, transient=True) as live:
        for settlements in demo_chain.play(Client(info).call, demo_chain.Chain(url)):
            live.update(demo_chain.table(settlements))
    console.print(demo_chain.table(settlements))
    return demo_chain.right(settlements)


def show_incident(info: RunInfo, down: Path, console: Console) -> bool:
    """Have a provider fail, and the dead letters redriven. True when all came back under control."""
    steps: list[demo_incident.Step] = []
    with Live(demo_incident.table([]), console=console, refresh_per_second=8, transient=True) as live:
        for steps in demo_incident.play(Client(info).call, down):
            live.update(demo_incident.table(steps))
    console.print(demo_incident.table(steps))
    return demo_incident.right(steps)


def main(arguments: list[str] | None = None) -> int:
    """Start the platform, run the demo, and stay up on a terminal."""
    parser = argparse.ArgumentParser(prog="python -m jobplatform.demo", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--data", type=Path, default=Path(".data"), metavar="DIR", help="data directory (default .data)"
    )
    options = parser.parse_args(arguments)
    console = Console() if sys.stdout.isatty() else Console(width=120)
    data = options.data.resolve()
    storage = f"class:jobplatform.demo_storage.FaultyStorage?location={data / 'storage'}"
    handlers = ",".join(filter(None, (os.environ.get("JOBPLATFORM_HANDLERS"), "jobplatform.demo_orders")))
    extra = {"STORAGE_URL": storage, "JOBPLATFORM_HANDLERS": handlers, "DEMO_PROVIDER_DOWN": str(data / PROVIDER_DOWN)}
    stack = Stack(data, None, quiet=True, extra_env=extra)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stack.ask_to_stop()
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    began = time.monotonic()
    try:
        with stack:
            console.print(f"Ready in {time.monotonic() - began:.1f} s.\n")
            good = show(stack.info, data / "run.json", console)
            if sys.stdin.isatty() and sys.stdout.isatty():
                console.print("\nIt stays up. Ctrl-C stops it.")
                stack.wait()
            else:
                console.print("\nThis is no terminal, so it stops now. `make demo` on one stays up, as `make up` does.")
            return 0 if good else 1
    except KeyboardInterrupt:
        return 0
    except StackError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
