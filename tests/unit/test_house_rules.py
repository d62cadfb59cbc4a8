"""The house rules that no linter knows, read from the source itself.

A rule is a function from a parsed file to the places that break it. RULES says for each what it forbids, a snippet that
it must find (so that a rule cannot fall silent), and the few places where the thing is allowed, with the reason.
"""

import ast
import io
import json
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST_FILE = 400  # code lines
LONGEST_FUNCTION = 50  # code lines

Finding = tuple[int, str]


@dataclass(frozen=True)
class Source:
    """A Python file: its path from the root, its text and its tree."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return parsed(self.text)


@cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def files() -> list[Path]:
    """Every file of the checkout that git would not ignore."""
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().split() if line.endswith("/")} | {".git"}

    def walk(folder: Path) -> Iterator[Path]:
        for entry in sorted(folder.iterdir()):
            if entry.name in ignored or entry.is_symlink():
                continue
            if entry.is_dir():
                yield from walk(entry)
            else:
                yield entry

    return list(walk(ROOT))


@cache
def sources() -> list[Source]:
    return [Source(str(p.relative_to(ROOT)), p.read_text(encoding="utf-8")) for p in files() if p.suffix == ".py"]


def product() -> list[Source]:
    """The code that ships: neither tests, measurements nor what installs it."""
    return [s for s in sources() if not s.path.startswith(("tests/", "benchmarks/", "requirements/", "."))]


# ------------------------------------------------------------------------------------------------ reading a tree
def called(node: ast.Call) -> str:
    """The name of what is called: `f` for f(), `obj.f` for obj.f(), `.f` for anything().f()."""
    match node.func:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            return f"{owner}.{name}"
        case ast.Attribute(attr=name):
            return f".{name}"
    return ""


def calls(source: Source) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            yield node, called(node)


def imported(source: Source) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported: `from a.b import c` gives a.b.c."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module or ''}.{alias.name}") for alias in node.names)


def within(name: str, roots: frozenset[str]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


# ------------------------------------------------------------------------------------------------ rules
def waiting_in_the_broker(source: Source) -> Iterator[Finding]:
    canvas = {"celery.chain", "celery.chord", "celery.chunks", "celery.group"}
    for line, name in imported(source):
        if name in canvas or name.startswith("celery.canvas"):
            yield line, name
    for node, name in calls(source):
        yield from ((node.lineno, f"{k.arg}=") for k in node.keywords if k.arg in {"countdown", "eta", "retry_backoff"})
        if name in {"self.retry", "task.retry"}:
            yield node.lineno, name


def ringing(source: Source) -> Iterator[Finding]:
    for node, name in calls(source):
        if isinstance(node.func, ast.Attribute) and node.func.attr in {"apply_async", "delay", "send_task"}:
            yield node.lineno, name


def running_text(source: Source) -> Iterator[Finding]:
    modules = frozenset({"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "yaml"})
    yield from ((line, name) for line, name in imported(source) if within(name, modules))
    for node, name in calls(source):
        if name in {"eval", "exec", "os.system", "os.popen", "__import__"}:
            yield node.lineno, name
        for keyword in node.keywords:
            if keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value):
                yield node.lineno, "shell="


def network(source: Source) -> Iterator[Finding]:
    servers = {"boto3", "botocore", "ftplib", "grpc", "paramiko", "smtplib", "socket", "ssl", "telnetlib", "xmlrpc"}
    clients = {"aiohttp", "http.client", "httpx", "requests", "urllib.request", "urllib3", "web3", "websockets"}
    modules = frozenset(servers | clients)
    yield from ((line, name) for line, name in imported(source) if within(name, modules))
    for node, name in calls(source):
        if name.rpartition(".")[2] in {"open_connection", "create_connection", "urlopen"}:
            yield node.lineno, name


def acting_unseen(source: Source) -> Iterator[Finding]:
    modules = frozenset({"django.db.models.signals", "django.dispatch", "django.core.signals", "celery.signals"})
    yield from ((line, name) for line, name in imported(source) if within(name, modules))
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Model") for base in node.bases):
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name in {"save", "delete"}:
                    yield item.lineno, f"{node.name}.{item.name}"


def publishing_after_commit(source: Source) -> Iterator[Finding]:
    yield from ((node.lineno, name) for node, name in calls(source) if name.rpartition(".")[2] == "on_commit")


def reading_the_environment(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "environb" | "getenv" as name):
                yield node.lineno, f"os.{name}"
    yield from ((line, name) for line, name in imported(source) if name in {"os.environ", "os.getenv"})


def reading_named_sql(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"sql|\S*\.sql", node.value):
            yield node.lineno, node.value


ROOF = "the processes of one machine, on loopback and private sockets"


@dataclass(frozen=True)
class Rule:
    """What is forbidden, code that it must find, and where it is allowed: the start of a path, and why."""

    find: Callable[[Source], Iterator[Finding]]
    forbids: str
    bad: tuple[str, ...]
    allowed: dict[str, str] = field(default_factory=dict)

    def permits(self, path: str) -> bool:
        return any(path.startswith(place) for place in self.allowed)


RULES = [
    Rule(
        waiting_in_the_broker,
        "delays, retries and canvases of Celery: a due time is a column, what follows is the next stage",
        ("task.apply_async(eta=now)", "task.apply_async(countdown=5)", "self.retry()", "from celery import chord"),
    ),
    Rule(
        ringing,
        "sending a Celery message: work is a row, and the relay alone rings",
        ("task.delay(1)", "task.apply_async()", "app.send_task('x')"),
        {"jobs/relay.py": "it is the relay"},
    ),
    Rule(
        running_text,
        "formats and calls that turn text into code",
        ("import pickle", "import yaml", "eval(text)", "exec(text)", "run(command, shell=True)", "os.system(text)"),
    ),
    Rule(
        network,
        "the network: a tenant's address is reached through egress, any other through the app's gateway",
        ("import socket", "from urllib.request import urlopen", "import requests", "import httpx", "import boto3"),
        {
            "confirmations/gateway/": "nodes of a chain, and keys that AWS keeps",
            "confirmations/management/": "what an operator checks by a library that the platform itself does not go by",
            "docs/verify_proof.py": "it is nobody's but the one's who trusts nobody",
            "egress/": "the guarded client itself",
            "ingestion/gateway.py": "object storage",
            "reconciliation/gateway.py": "messages to people: a server of mail, and topics of SNS",
            "jobplatform/chain_server.py": ROOF,
            "jobplatform/embedded.py": ROOF,
            "jobplatform/inherited.py": "it opens nothing: it lets connections go",
            "jobplatform/servers.py": ROOF,
            "jobplatform/supervisor.py": ROOF,
            "jobplatform/demo.py": ROOF,
            "jobplatform/demo_chain.py": ROOF,
        },
    ),
    Rule(
        acting_unseen,
        "signals, and logic in save() or delete(): what a write does stands in its service",
        ("from django.db.models.signals import post_save", "class Job(Model):\n    def save(self): ..."),
        {
            "jobplatform/celery.py": "Celery tells only by signal that a process starts or ends",
            "jobs/beat.py": "(same)",
            "jobs/tasks.py": "(same)",
        },
    ),
    Rule(
        publishing_after_commit,
        "publishing after commit: the event is a row of the same transaction",
        ("transaction.on_commit(ring)",),
        {
            "jobs/services.py": "rings the bell, which costs time when it is lost: the relay sweeps as well",
            "jobs/interventions.py": "rings the bell, as the services do",
            "jobs/awaiting.py": "rings the bell for whom an event woke, as the services do",
            "jobs/bulk.py": "rings the bell for jobs on other shelves, as the services do",
            "jobs/lanes.py": "moves a lane on that somebody else had locked, which the relay does as well",
            "jobs/endings.py": "rings for those whose turn has come in a lane or a limit: the relay sweeps as well",
            "jobs/limits.py": "rings the bell for what a limit lets out, which the relay does as well",
            "jobs/pauses.py": "rings the bell for what runs again, as the services do",
            "jobs/shelves.py": "remembers the id of a shelf once its row is there for good; publishes nothing",
        },
    ),
    Rule(
        reading_the_environment,
        "reading the environment: jobplatform/settings.py holds the one table of variables",
        ("os.environ['X']", "os.getenv('X')", "from os import environ"),
        {"jobplatform/": "the roof, where processes are started and settings are read", "manage.py": "entry point"},
    ),
    Rule(
        reading_named_sql,
        "the named SQL: jobs/store.py and events/log.py alone execute it",
        ("Path('sql')", "read('claim.sql')", "glob('*.sql')"),
        {"jobs/store.py": "its home", "events/log.py": "its home"},
    ),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.find.__name__)
def test_nothing_that_ships_breaks_a_rule(rule: Rule) -> None:
    found = [
        f"{source.path}:{line}: {what}"
        for source in product()
        if not rule.permits(source.path)
        for line, what in rule.find(source)
    ]

    assert found == [], f"Forbidden: {rule.forbids}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.find.__name__)
def test_a_rule_finds_what_it_forbids(rule: Rule) -> None:
    silent = [bad for bad in rule.bad if not list(rule.find(Source("planted.py", bad)))]

    assert silent == []


# ------------------------------------------------------------------------------------------------ sizes and names
def code_lines(text: str, tree: ast.Module) -> set[int]:
    """Numbers of the lines that hold code: neither blank, comment nor docstring."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped and token.type != tokenize.ENDMARKER:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str())) as doc, *_]:
                    lines.difference_update(range(doc.lineno, (doc.end_lineno or doc.lineno) + 1))
    return lines


def long_functions(source: Source) -> Iterator[Finding]:
    lines = code_lines(source.text, source.tree)
    reasons = {n for n, line in enumerate(source.text.splitlines(), 1) if re.search(r"# long: \S+ \S+", line)}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            head = node.body[0].lineno
            size = len(lines & set(range(node.lineno, (node.end_lineno or node.lineno) + 1)))
            if size > LONGEST_FUNCTION and not reasons & set(range(node.lineno, head + 1)):
                yield node.lineno, f"{node.name} has {size} code lines"


def test_no_file_is_longer_than_400_code_lines() -> None:
    sizes = {s.path: len(code_lines(s.text, s.tree)) for s in sources() if "/migrations/" not in s.path}

    assert {path: size for path, size in sizes.items() if size > LONGEST_FILE} == {}


def test_no_function_is_longer_than_50_code_lines_without_a_reason() -> None:
    found = [
        f"{s.path}:{line}: {what}"
        for s in sources()
        if "/migrations/" not in s.path
        for line, what in long_functions(s)
    ]

    assert found == []


def test_comments_and_docstrings_do_not_count_as_code() -> None:
    text = '"""Doc.\n\nMore.\n"""\n\n# why\nx = 1  # code\n\n\ndef f():\n    """Doc."""\n    return (\n        2)\n'

    assert code_lines(text, ast.parse(text)) == {7, 10, 12, 13}


def test_a_long_function_is_found_unless_it_gives_a_reason() -> None:
    body = "".join(f"    x{n} = {n}\n" for n in range(LONGEST_FUNCTION))

    assert list(long_functions(Source("planted.py", f"def f():\n{body}")))
    assert not list(long_functions(Source("planted.py", f"def f():  # long: one table of cases\n{body}")))


def test_no_drawer_is_named_after_nothing() -> None:
    drawers = {"utils", "util", "common", "core", "helpers", "helper", "misc"}
    named = {part for source in sources() for part in Path(source.path).with_suffix("").parts}

    assert named & drawers == set()


TODO = re.compile(r"#.*\b(TODO|FIXME|XXX|HACK)\b(?P<rest>.*)")
REASONED = re.compile(r": \S+(?: \S+){2,}")


def loose_ends(text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), 1):
        found = TODO.search(line)
        if found and not (found[1] == "TODO" and REASONED.match(found["rest"])):
            yield number, found[0]


def test_every_todo_gives_its_reason() -> None:
    here = str(Path(__file__).relative_to(ROOT))

    assert [f"{s.path}:{n}: {what}" for s in sources() if s.path != here for n, what in loose_ends(s.text)] == []


def test_a_todo_without_a_reason_is_found() -> None:
    assert list(loose_ends("x = 1  # TODO\n"))
    assert list(loose_ends("# FIXME: this is broken on Sundays\n"))
    assert not list(loose_ends("# TODO: drop it when Django 6 is the floor\n"))


# ------------------------------------------------------------------------------------------------ itself alone
MACHINE_PATH = re.compile(r"(?<![\w.$}~-])/(?:work|home|root|Users|tmp/plan|opt/(?:wheels|pypi))/[\w.-]+")


def text_files() -> Iterator[tuple[Path, str]]:
    for path in files():
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture


def test_the_project_names_no_path_of_the_machine_it_was_written_on() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {hit[0]}"
        for path, text in text_files()
        if path != Path(__file__)
        for hit in MACHINE_PATH.finditer(text)
    ]

    assert found == []


def test_a_path_of_a_machine_is_found() -> None:
    assert MACHINE_PATH.search("see /home/jane/checkout")
    assert not MACHINE_PATH.search("GET /api/v1/users/home/items")
    assert not MACHINE_PATH.search("$HOME/root/x ~/root/x")


def test_lock_files_name_no_registry() -> None:
    locks = [*ROOT.glob("requirements/*.txt"), *ROOT.glob("package-lock.json")]
    options = re.compile(r"(?:^|\s)--(?:extra-)?(?:index-url|find-links|trusted-host)\b|^-[if] |\w+://", re.MULTILINE)
    found = []
    for path in locks:
        if path.suffix == ".json":
            entries = json.loads(path.read_text())["packages"].items()
            found += [f"{path.name}: {name}" for name, entry in entries if "://" in entry.get("resolved", "")]
        else:
            found += [f"{path.name}: {hit[0].strip()}" for hit in options.finditer(path.read_text())]

    assert locks
    assert found == []


def test_every_locked_package_has_its_hashes() -> None:
    loose = []
    for path in ROOT.glob("requirements/*.txt"):
        entries = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE))
        loose += [
            f"{path.name}: {entry.split()[0]}" for entry in entries if entry.strip() and "--hash=sha256:" not in entry
        ]

    assert loose == []
