"""What is hashed of a record, and how."""

import hashlib
import hmac
import json
from dataclasses import fields, replace
from typing import Any

import pytest

from events import sealing
from events.sealing import Record

RECORD = Record(
    7, "0190c1a2-0000-7000-8000-00000000000a", "2026-11-23T18:51:09.5", "user:anna", "job.cancel", "job", "1",
    'a "reason"\n– é', '{"n": 1.10, "wide": 12345678901234567890}', 2, "ab" * 32, "",
)  # fmt: skip


@pytest.fixture(autouse=True)
def key(settings: Any) -> None:
    settings.AUDIT_KEY = "a key of this test that is long enough"


def test_the_canonical_form_is_this_text() -> None:
    assert sealing.canonical(RECORD.facts()) == (
        b'{"action":"job.cancel","actor":"user:anna","chain":"0190c1a2-0000-7000-8000-00000000000a","chain_no":2,'
        b'"data":"{\\"n\\": 1.10, \\"wide\\": 12345678901234567890}","form":"jobplatform.audit.record/1","id":7,'
        b'"occurred_at":"2026-11-23T18:51:09.5","prev_hash":"' + b"ab" * 32 + b'",'
        b'"reason":"a \\"reason\\"\\n\xe2\x80\x93 \xc3\xa9","subject_id":"1","subject_type":"job"}'
    )


def test_the_hash_is_what_anybody_with_the_key_computes() -> None:
    text = json.dumps(RECORD.facts(), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    digest = hmac.new(b"a key of this test that is long enough", text.encode(), hashlib.sha256).hexdigest()

    assert sealing.mac(RECORD.facts()) == digest
    assert replace(RECORD, hash=digest).whole


@pytest.mark.parametrize("name", [field.name for field in fields(Record)])
def test_no_part_of_a_record_can_change_unseen(name: str) -> None:
    sealed = replace(RECORD, hash=sealing.mac(RECORD.facts()))
    value = getattr(sealed, name)
    other: Any = value + 1 if isinstance(value, int) else f"{value} "

    assert sealed.whole
    assert not replace(sealed, **{name: other}).whole


def test_another_key_makes_another_hash(settings: Any) -> None:
    before = sealing.mac(RECORD.facts())
    settings.AUDIT_KEY = "another"

    assert sealing.mac(RECORD.facts()) != before


def test_what_is_no_hash_fits_nothing() -> None:
    assert not sealing.fits("\ud800 é", RECORD.facts())


def test_texts_cannot_be_moved_from_one_field_to_the_next() -> None:
    one = replace(RECORD, actor="user:a", action="b")
    other = replace(RECORD, actor="user:", action="ab")

    assert sealing.canonical(one.facts()) != sealing.canonical(other.facts())
