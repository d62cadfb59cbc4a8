"""Verify the proof of a job's result, given nothing but a node of its network: python verify_proof.py PROOF.json URL"""

import json
import sys
import urllib.request


def ask(method, *params):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(sys.argv[2], body, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))["result"]


def keccak(*parts):
    return ask("web3_sha3", "0x" + "".join(part.removeprefix("0x") for part in parts))


proof = json.load(open(sys.argv[1]))
assert int(ask("eth_chainId"), 16) == proof["network"], "the node is of another network"
preimage = proof["preimage"].encode().hex()
assert keccak(preimage) == proof["result_hash"], "the hash is not that of the result"
assert json.loads(proof["preimage"])["id"].replace("-", "") == proof["job"][2:34], "the result is another job's"
subject, value, event = proof["job"], proof["result_hash"], "JobConfirmed(bytes32,bytes32,address)"
if proof["mode"] == "anchor":
    node = keccak(keccak(proof["job"], proof["result_hash"]))
    for other in proof["path"]:
        node = keccak(*sorted((node, other)))
    subject, value, event = node, "0x%064x" % proof["leaves"], "RootAnchored(bytes32,uint256,address)"
receipt = ask("eth_getTransactionReceipt", proof["transaction"])
topics = [keccak(event.encode().hex()), subject, "0x" + proof["signer"][2:].rjust(64, "0")]
assert receipt["status"] == "0x1" and any(
    log["address"] == proof["contract"] and log["topics"] == topics and log["data"] == value for log in receipt["logs"]
), "the transaction does not say so"
print("verified: block", int(receipt["blockNumber"], 16), "of", int(ask("eth_blockNumber"), 16))
