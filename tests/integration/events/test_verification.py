"""Whoever becomes the superuser of the database and takes its guards away is found out, and what was done is named."""

import datetime as dt
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings

from events import audit, heads, sealing, verification
from events.verification import Sort
from jobs.handlers import keep_heads
from jobs.outcomes import Done
from jobs.states import PLATFORM
from jobs.testing import run_once

pytestmark = pytest.mark.usefixtures("committed", "storage")

ROOT = Path(__file__).resolve().parents[3]
OURS, THEIRS = UUID(int=31), UUID(int=32)
E_, D, O, I, T, R = Sort.EDIT, Sort.DELETE, Sort.REORDER, Sort.INSERTION, Sort.TRUNCATION, Sort.REWRITE  # noqa: E741
PUT_IN = (
    "insert into events_auditrecord (project_id, actor, action, subject_type, subject_id, reason, data, chain_no, prev_hash,"
    " hash) values ('{project}', 'user:eve', 'test.act', 'test', '1', '', '{{}}', {number}, {prev}, 'f00d')"
)


@pytest.fixture
def storage(tmp_path: Path, settings: Any) -> Path:
    settings.STORAGE_URL = f"file://{tmp_path}/storage"
    return tmp_path / "storage"


def act(project: UUID | None = OURS, number: int = 1) -> None:
    for _ in range(number):
        audit.record(
            action="test.act", actor="user:anna", subject_type="test", subject_id="1", project_id=project, data={"n": 1}
        )
    sealing.seal()


def keep(monkeypatch: pytest.MonkeyPatch, hour: int) -> None:
    """Store the heads as at another hour."""
    real = heads.now

    def at() -> list[heads.KeptHead]:
        return [heads.KeptHead(h.chain, h.chain_no, h.hash, f"2026-11-23T{hour:02}:00:00.5") for h in real()]

    with monkeypatch.context() as patch:
        patch.setattr(heads, "now", at)
        key, _ = heads.store()
    assert key == f"heads/2026-11/23T{hour:02}Z.json"


def tamper(*statements: str) -> None:
    """What a superuser can do."""
    with connection.cursor() as cursor:
        cursor.execute("alter table events_auditrecord disable trigger all")
        cursor.execute("drop index if exists events_audit_chain")
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("alter table events_auditrecord enable trigger all")


def found(chain: UUID | None = None) -> list[tuple[Sort, str]]:
    report = verification.verify(str(chain) if chain else None)
    return [(finding.sort, finding.text) for finding in report.findings]


def where(number: int, project: UUID = OURS) -> str:
    return f"where project_id = '{project}' and chain_no = {number}"


SET = "update events_auditrecord set "
SWAP_SEALS = """
update events_auditrecord a set chain_no = b.chain_no, prev_hash = b.prev_hash, hash = b.hash
from events_auditrecord b
where a.chain_no in (4, 6) and b.chain_no in (4, 6) and a.id <> b.id and a.project_id = b.project_id
"""

CASES: dict[str, tuple[tuple[str, ...], list[tuple[Sort, int | tuple[int, int]]]]] = {
    "a reason is edited": ((SET + "reason = 'another' " + where(4),), [(E_, 4)]),
    "data is edited behind the point": ((SET + "data = '{\"n\": 1.0}' " + where(4),), [(E_, 4)]),
    "the time is edited": ((SET + "occurred_at = occurred_at + interval '1 us' " + where(4),), [(E_, 4)]),
    "the first is edited": ((SET + "actor = 'user:eve' " + where(1),), [(E_, 1)]),
    "the last is edited": ((SET + "actor = 'user:eve' " + where(9),), [(E_, 9)]),
    "two are edited": ((SET + "actor = 'user:eve' " + where(4), SET + "actor = 'user:eve' " + where(5)), [(E_, 4), (E_, 5)]),
    "an edit with a hash of its own": ((SET + "reason = 'x', hash = 'f00d' " + where(4),), [(E_, 4)]),
    "a hash that is no text of ours": ((SET + "hash = 'ü' " + where(4),), [(E_, 4)]),
    "one is deleted": (("delete from events_auditrecord " + where(4),), [(D, 4)]),
    "the first is deleted": (("delete from events_auditrecord " + where(1),), [(D, 1)]),
    "three are deleted": (
        ("delete from events_auditrecord " + where(4), "delete from events_auditrecord " + where(5),
         "delete from events_auditrecord " + where(7)),
        [(D, (4, 5)), (D, 7)],
    ),
    "one is deleted and the gap closed": (
        ("delete from events_auditrecord " + where(7), SET + "chain_no = chain_no - 1 where chain_no > 7"),
        [(O, 8), (O, 9), (D, 7)],
    ),
    "two are exchanged by their numbers": ((SET + "chain_no = 10 - chain_no where chain_no in (4, 6)",), [(O, 6), (O, 4)]),
    "two are exchanged with their seals": ((SWAP_SEALS,), [(O, 6), (O, 4)]),
    "one is put in between": (
        (SET + "chain_no = chain_no + 1 where chain_no > 6", PUT_IN.format(project=OURS, number=7, prev="''")),
        [(I, 7), (O, 7), (O, 8), (O, 9)],
    ),
    "one is put in beside another": ((PUT_IN.format(project=OURS, number=4, prev="''"),), [(I, 4)]),
    "one is put in at the end": ((PUT_IN.format(project=OURS, number=10, prev="''"),), [(I, 10)]),
    "one is put in behind the end": ((PUT_IN.format(project=OURS, number=12, prev="''"),), [(I, 12)]),
    "one is put in before the beginning": ((PUT_IN.format(project=OURS, number=0, prev="''"),), [(I, 0)]),
    "one comes from another chain": (
        (SET + f"project_id = '{OURS}', chain_no = 10 " + where(1, THEIRS),), [(I, 10), (T, 1)],
    ),
    "the last is deleted": (("delete from events_auditrecord " + where(9),), [(T, 9)]),
    "the whole chain is deleted": ((f"delete from events_auditrecord where project_id = '{OURS}'",), [(T, 9)]),
    "everything is deleted": (("delete from events_auditrecord",), [(T, 9), (T, 1)]),
    "the end is deleted and one before it edited": (
        ("delete from events_auditrecord " + where(9), SET + "reason = 'x' " + where(8)), [(E_, 8), (T, 9)],
    ),
    "a seal is taken off": ((SET + "chain_no = null, prev_hash = null, hash = null " + where(4),), [(D, 4)]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_was_done_is_detected_and_named(case: str) -> None:
    statements, expected = CASES[case]
    act(number=9)
    act(THEIRS)
    heads.store()
    assert found() == []
    tamper(*statements)

    told = [(sort, text) for sort, text in found()]
    assert [sort for sort, _ in told] == [sort for sort, _ in expected], told
    for (sort, text), (_, number) in zip(told, expected, strict=True):
        if isinstance(number, tuple):
            assert f"numbers {number[0]} to {number[1]} are missing" in text
        elif sort is Sort.REORDER:
            assert text.endswith(f"was number {number}."), told
        else:
            assert re.search(rf"\bnumber {number}\b", text), told
        assert text.endswith(".")
        assert text.startswith("The chain of project ")
    act(number=3)  # the sealer goes on from what it finds, and that does not hide it
    act(THEIRS, 2)
    assert found()


def test_an_end_that_was_cut_off_and_written_anew_is_told_from_the_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    act(number=5)
    keep(monkeypatch, 9)
    act(number=2)
    keep(monkeypatch, 10)
    tamper("delete from events_auditrecord where chain_no > 4")
    act(number=20)

    ((sort, text),) = found()
    assert sort is Sort.REWRITE
    assert "number 5, is not what the head of 2026-11-23T09:00:00.5 has there" in text


def test_an_older_backup_lacks_what_the_heads_have(monkeypatch: pytest.MonkeyPatch) -> None:
    act(number=4)
    act(None, 2)
    keep(monkeypatch, 9)
    with connection.cursor() as cursor:
        cursor.execute("create table backup as select * from events_auditrecord")
    act(number=3)
    keep(monkeypatch, 10)
    assert found() == []
    tamper("truncate events_auditrecord", "insert into events_auditrecord select * from backup")

    ((sort, text),) = found()
    assert (sort, text) == (
        Sort.TRUNCATION,
        f"The chain of project {OURS} was cut off: it ends with number 4, and the head of 2026-11-23T10:00:00.5 has number 7.",
    )
    assert verification.verify(since=dt.datetime(2026, 11, 23, 11, tzinfo=dt.UTC)).findings == []


def test_who_has_the_key_cannot_rewrite_what_heads_were_stored_of(monkeypatch: pytest.MonkeyPatch) -> None:
    act(number=6)
    keep(monkeypatch, 9)
    tamper(
        f"update events_auditrecord set reason = 'x' {where(2)}",
        "update events_auditrecord set chain_no = null, prev_hash = null, hash = null",
    )
    sealing.seal()
    keep(monkeypatch, 10)

    assert [sort for sort, _ in found()] == [Sort.REWRITE]


def test_another_key_is_said_to_be_one(settings: Any) -> None:
    act(number=3)
    heads.store()
    settings.AUDIT_KEY = "another key"

    texts = [text for _, text in found()]
    assert len(texts) == 2
    assert "bear no seal of this AUDIT_KEY" in texts[0]
    assert "no record with a seal of this AUDIT_KEY" in texts[1]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"mac": 1, "heads": 2}', b"[" * 100_000, b"\xff", None])
def test_heads_that_somebody_changed_are_found(storage: Path, body: bytes | None) -> None:
    act(number=2)
    key, _ = heads.store()
    file = storage / key
    file.write_bytes(body if body is not None else file.read_bytes().replace(b'"chain_no": 2', b'"chain_no": 1'))

    ((sort, text),) = found()
    assert sort is Sort.HEADS
    assert key in text


def test_heads_that_were_all_deleted_are_missed() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into events_auditrecord (occurred_at, actor, action, subject_type, subject_id, reason, data)"
            " values (now() - interval '3 hours', 'a', 'b', 'c', 'd', 'e', '{}')"
        )
    sealing.seal()

    assert [sort for sort, _ in found()] == [Sort.HEADS]
    heads.store()
    assert found() == []


def test_many_findings_are_counted_and_not_all_told() -> None:
    act(number=160)
    tamper("update events_auditrecord set reason = 'x' where chain_no between 10 and 150")

    texts = [text for _, text in found()]
    assert len(texts) == verification.MOST_TOLD + 2
    assert any("41 more records" in text for text in texts)
    assert any("80 more of this sort: edit" in text for text in texts)


def test_a_gap_of_any_width_is_one_finding() -> None:
    """Numbers are faked by the million, and sealed with the key, as nobody has so many records to delete."""
    act(number=30)
    record = next(record for record in verification.records_of(str(OURS)) if record.chain_no == 30)
    hash_ = sealing.mac(record.facts(chain_no=5_000_030))
    tamper(SET + f"chain_no = 5000030, hash = '{hash_}' " + where(30), "delete from events_auditrecord " + where(20))

    assert [text.partition("a gap: ")[2] for _, text in found()] == [
        "number 20 is missing.",
        "numbers 30 to 5000029 are missing.",
    ]


def test_one_chain_can_be_verified_alone() -> None:
    act(number=3)
    act(THEIRS, 3)
    tamper(f"update events_auditrecord set reason = 'x' {where(2, THEIRS)}")

    assert found(OURS) == []
    assert [sort for sort, _ in found(THEIRS)] == [Sort.EDIT]


def test_a_part_of_a_long_chain_can_be_verified() -> None:
    act(number=30)
    heads.store()
    report = verification.verify(str(OURS), most=20)

    (verdict,) = report.verdicts
    assert (verdict.records, verdict.complete, verdict.findings) == (20, False, [])


# ------------------------------------------------------------------------------------------------ heads
def test_heads_are_stored_once_an_hour_and_never_overwritten(storage: Path) -> None:
    act(number=2)
    outcome = run_once(keep_heads, {}, project_id=PLATFORM)
    assert isinstance(outcome, Done)
    (file,) = storage.glob("heads/*/*.json")
    before = file.read_bytes()
    act(number=2)
    run_once(keep_heads, {}, project_id=PLATFORM)

    assert outcome.output == {"key": str(file.relative_to(storage)), "chains": 1}
    assert file.read_bytes() == before
    (head,) = json.loads(before)["heads"]
    assert (head["chain"], head["chain_no"]) == (str(OURS), 2)


def test_without_a_record_no_heads_are_stored(storage: Path) -> None:
    assert heads.store() == ("", 0)
    assert not storage.exists()


# ------------------------------------------------------------------------------------------------ commands
def test_the_command_says_a_sentence_for_each_finding_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    act(number=3)
    act(None, 2)
    heads.store()
    call_command("verify_audit")
    assert "5 records of 2 chains are as they were sealed; compared with 1 stored heads." in capsys.readouterr().out

    tamper(f"update events_auditrecord set reason = 'x' {where(2)}")
    with pytest.raises(SystemExit) as stopped:
        call_command("verify_audit")
    assert stopped.value.code == 1
    out = capsys.readouterr().out
    assert (
        len(re.findall(r"^edit: The chain of project .* was changed: record \d+, number 2, is", out, re.MULTILINE)) == 1
    )
    call_command("verify_audit", project="platform")
    with pytest.raises(CommandError, match="project"):
        call_command("verify_audit", project="nobody")


def offline(file: Path, key: str) -> subprocess.CompletedProcess[str]:
    kept = file.with_suffix(".key")
    kept.write_text(f"{key}\n")
    command = [sys.executable, "-I", str(ROOT / "docs/verify_audit.py"), str(file), str(kept)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


EDITS: dict[str, Callable[[list[str]], list[str]]] = {
    "edited": lambda lines: [line.replace("user:anna", "user:eve") if n == 2 else line for n, line in enumerate(lines)],
    "one left out": lambda lines: lines[:2] + lines[3:],
    "reordered": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "the end left out": lambda lines: lines[:3],
    "the last record left out": lambda lines: [
        line for line in lines if '"chain_no":5' not in line or "record/1" not in line
    ],
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_export_is_verified_by_whoever_has_the_key(tmp_path: Path, edit: str) -> None:
    file, key = tmp_path / "audit.jsonl", "a key that an auditor was given, too"
    with override_settings(AUDIT_KEY=key):
        act(number=5)
        act(THEIRS)
        heads.store()
        call_command("export_audit", project=str(OURS), out=str(file), verbosity=0)

    assert str(THEIRS) not in file.read_text()
    ran = offline(file, key)
    assert (ran.returncode, ran.stderr) == (0, ""), ran
    assert "5 records" in ran.stdout
    lines = file.read_text().splitlines()
    file.write_text("\n".join(EDITS[edit](lines)) + "\n")
    assert offline(file, key).returncode == 1
    file.write_text("\n".join(lines) + "\n")
    assert offline(file, "another key").returncode == 1
