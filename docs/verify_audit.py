"""Verify an export of the audit record, given the AUDIT_KEY in a file: python verify_audit.py FILE.jsonl KEY"""

import hashlib
import hmac
import json
import sys

KEY = open(sys.argv[2], encoding="utf-8").read().strip().encode()


def is_sealed(facts, seal):
    text = json.dumps(facts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hmac.compare_digest(hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest().encode(), seal.encode())


lines = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
records = [line for line in lines if line["form"] == "jobplatform.audit.record/1"]
heads = [line for line in lines if line["form"] == "jobplatform.audit.head/1"]
before, hashes = "0" * 64, {}
for number, record in enumerate(records, 1):
    seal = record.pop("hash")
    assert is_sealed(record, seal), f"record {record['id']} was changed, or put in"
    assert record["chain"] == records[0]["chain"], f"record {record['id']} is of another chain"
    assert (record["chain_no"], record["prev_hash"]) == (number, before), f"number {number} is missing, or moved"
    before = hashes[number] = seal
for head in heads:
    assert is_sealed(head, head.pop("mac")), f"the head of {head['time']} was changed"
    assert hashes.get(head["chain_no"]) == head["hash"], f"cut off: the head of {head['time']} says otherwise"
assert lines[-1] in heads and lines[-1]["chain_no"] == len(records), "the end of the file is missing"
print(f"verified: {len(records)} records, {len(heads)} heads, up to {lines[-1]['time']}")
