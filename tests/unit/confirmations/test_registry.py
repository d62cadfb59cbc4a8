"""The contract: its source is what was compiled, its calls are what it takes, its events are what is read."""

import json
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from eth_hash.auto import keccak

from confirmations import registry
from confirmations.registry import JobConfirmed, RootAnchored

FOLDER = Path(registry.__file__).parent
JOB, OTHER = UUID(int=0x0192_F3A1 << 96 | 7), UUID(int=2)
RESULT, ROOT = bytes(range(32)), bytes(range(32, 64))
SENDER = bytes(range(20))
COMPILE = """
import json, sys, vyper
made = vyper.compile_code(open(sys.argv[1]).read(), output_formats=["abi", "bytecode", "bytecode_runtime"])
print(json.dumps(made | {"compiler": f"vyper {vyper.__version__}"}))
"""


def test_the_source_is_what_was_compiled() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(FOLDER / "JobRegistry.vy")], capture_output=True, text=True, check=True
    )
    made, kept = json.loads(done.stdout), registry.compiled()

    assert (made["compiler"], made["abi"], made["bytecode"]) == (kept["compiler"], kept["abi"], kept["bytecode"])
    code = bytes.fromhex(made["bytecode_runtime"].removeprefix("0x"))
    assert registry.is_ours(code)
    assert not registry.is_ours(code[:-1])
    assert not registry.is_ours(b"")


def test_calls_and_events_are_those_of_the_interface() -> None:
    """Selectors and topics are hashes of signatures; the signatures are the interface's."""
    signatures = {
        entry["name"]: f"{entry['name']}({','.join(field['type'] for field in entry['inputs'])})"
        for entry in registry.compiled()["abi"]
    }
    calls = {
        "confirm": registry.confirm(JOB, RESULT),
        "confirmMany": registry.confirm_many([(JOB, RESULT)]),
        "anchor": registry.anchor(ROOT, 1),
    }
    topics = {"JobConfirmed": registry.JOB_CONFIRMED, "RootAnchored": registry.ROOT_ANCHORED}

    assert {name: call[:4] for name, call in calls.items()} == {
        name: keccak(signatures[name].encode())[:4] for name in calls
    }
    assert topics == {name: keccak(signatures[name].encode()) for name in topics}
    assert set(signatures) == set(calls) | set(topics)
    indexed = {
        entry["name"]: [field["name"] for field in entry["inputs"] if field["indexed"]]
        for entry in registry.compiled()["abi"]
        if entry["type"] == "event"
    }
    assert indexed == {"JobConfirmed": ["jobId", "sender"], "RootAnchored": ["root", "sender"]}


def test_a_call_for_one_job_is_its_id_and_its_hash() -> None:
    assert registry.confirm(JOB, RESULT)[4:] == JOB.bytes + bytes(16) + RESULT


def test_a_call_for_many_is_two_lists() -> None:
    """By the specification: where each list begins, counted from the first word, then its length and its words."""
    call = registry.confirm_many([(JOB, RESULT), (OTHER, ROOT)])[4:]
    words = [call[place : place + 32] for place in range(0, len(call), 32)]

    assert [int.from_bytes(word, "big") for word in words[:3]] == [64, 160, 2]
    assert words[3:5] == [JOB.bytes + bytes(16), OTHER.bytes + bytes(16)]
    assert words[5:] == [(2).to_bytes(32, "big"), RESULT, ROOT]


@pytest.mark.parametrize("number", [0, registry.MOST_AT_ONCE + 1])
def test_more_than_the_contract_takes_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="1 to 200"):
        registry.confirm_many([(JOB, RESULT)] * number)


def test_the_bound_is_the_contracts() -> None:
    assert f"MAX_BATCH: constant(uint256) = {registry.MOST_AT_ONCE}\n" in (FOLDER / "JobRegistry.vy").read_text()


@pytest.mark.parametrize("word", [b"", b"x" * 31, b"x" * 33])
def test_what_is_no_hash_goes_into_no_call(word: bytes) -> None:
    with pytest.raises(ValueError, match="no hash"):
        registry.confirm(JOB, word)
    with pytest.raises(ValueError, match="no hash"):
        registry.confirm_many([(JOB, word)])
    with pytest.raises(ValueError, match="no hash"):
        registry.anchor(word, 1)


def test_events_are_read() -> None:
    sender = bytes(12) + SENDER
    confirmed = registry.read([registry.JOB_CONFIRMED, JOB.bytes + bytes(16), sender], RESULT)
    anchored = registry.read([registry.ROOT_ANCHORED, ROOT, sender], (7).to_bytes(32, "big"))

    assert confirmed == JobConfirmed(JOB, RESULT, SENDER)
    assert anchored == RootAnchored(ROOT, 7, SENDER)
    stranger = registry.read([registry.JOB_CONFIRMED, b"\xff" * 32, sender], RESULT)
    assert stranger == JobConfirmed(None, RESULT, SENDER)


@pytest.mark.parametrize(
    ("topics", "data"),
    [
        ([], RESULT),
        ([registry.JOB_CONFIRMED], RESULT),
        ([bytes(32), ROOT, bytes(32)], RESULT),
        ([registry.JOB_CONFIRMED, ROOT, bytes(31)], RESULT),
        ([registry.JOB_CONFIRMED, ROOT, b"\x01" * 32], RESULT),
        ([registry.JOB_CONFIRMED, ROOT, bytes(32)], RESULT + b"x"),
        ([registry.JOB_CONFIRMED, ROOT, bytes(32)], b""),
    ],
)
def test_what_has_not_the_form_of_an_event_says_nothing(topics: list[bytes], data: bytes) -> None:
    assert registry.read(topics, data) is None
