"""What is asked of a network, in its own words; answers are checked for their form.

Quantities come as hexadecimal numbers and bytes as hexadecimal text (Ethereum JSON-RPC, "Conventions"). What has
another form is a `NodeNonsense`: the node is of no use, and nothing is concluded from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings

from confirmations.errors import BatchRefused, NodeError, NodeNonsense, NodeRefused, NodeUnreachable
from confirmations.gateway.node import LARGEST_REQUEST, Call, number
from confirmations.gateway.nodes import Behind, Nodes
from confirmations.results import shown

FEE_BLOCKS = 10
NO_BODIES = (False,)
"""Of the transactions of a block their hashes only."""
WORD = 32
ADDRESS = 20


@dataclass(frozen=True, slots=True)
class Header:
    """A block: its number, its hash and that of the one before it."""

    number: int
    hash: bytes
    parent: bytes


@dataclass(frozen=True, slots=True)
class Told:
    """A log as a node tells of it."""

    block_number: int
    block_hash: bytes
    index: int
    tx_hash: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """All logs of a range of blocks, by one node at one moment, and the blocks that were asked for with them."""

    logs: list[Told]
    headers: list[Header]


@dataclass(frozen=True, slots=True)
class Market:
    """The base fee of the next block, and what the last ones paid on top, in wei per gas."""

    next_base: int
    rewards: list[int]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a transaction in a block. `worked`: it was not reverted."""

    block_number: int
    block_hash: bytes
    worked: bool
    gas_used: int


@dataclass(frozen=True, slots=True)
class Account:
    """What the chain says of an address: the nonce that it expects next, and the balance in wei.

    `head`: the highest block of who says so. What used the nonces below stands there or further down.
    """

    nonce: int
    balance: int
    head: int


class Chain:
    """A network, by way of its nodes. All of its methods raise `NodeError`."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes

    def head(self) -> int:
        """The number of the highest block."""
        return self.nodes.head()

    def header(self, block: int | str) -> Header | None:
        """A block by its number, or by `safe` or `finalized`; None: the node does not know it (yet)."""
        told = self.nodes.call("eth_getBlockByNumber", _block(block), *NO_BODIES)
        return None if told is None else _header(told)

    def header_seen(self, height: int) -> Header:
        """A block, from a node that has seen it. Raises `Behind`: none has."""
        (told,) = self.nodes.read([("eth_getBlockByNumber", [hex(height), *NO_BODIES])], upto=height)
        if isinstance(told, NodeError):
            raise told
        if told is None:
            message = "a node has not the block that it says it has"
            raise Behind(message)
        return _header(told)

    def page(self, contract: bytes, first: int, last: int, headers: Sequence[int]) -> Page:
        """The logs of a contract from `first` to `last`, and these blocks, from a node that has seen them all."""
        ask: dict[str, Any] = {"address": shown(contract), "fromBlock": hex(first), "toBlock": hex(last)}
        calls: list[Call] = [("eth_getLogs", [ask])]
        calls += [("eth_getBlockByNumber", [hex(height), False]) for height in headers]
        answers = self.nodes.read(calls, upto=last)
        for answer in answers:
            if isinstance(answer, NodeError):
                raise answer
        told, *blocks = answers
        if not isinstance(told, list) or any(block is None for block in blocks):
            message = "a node answers without logs, or without a block that it says it has"
            raise NodeNonsense(message)
        words: dict[str, bytes] = {}
        logs = [log(item, words) for item in told]
        if any(not first <= found.block_number <= last for found in logs):
            message = "a node tells of logs that were not asked for"
            raise NodeNonsense(message)
        return Page(logs, [_header(block) for block in blocks])

    def market(self) -> Market:
        """What a place in the next block costs."""
        told = self.nodes.call("eth_feeHistory", hex(FEE_BLOCKS), "latest", [50])
        try:
            bases = [number(item) for item in told["baseFeePerGas"]]
            rewards = [number(row[0]) for row in told.get("reward") or () if row]
            return Market(bases[-1], rewards)
        except (KeyError, IndexError, TypeError, AttributeError):
            message = "a node tells of fees in a form that nobody understands"
            raise NodeNonsense(message) from None

    def account(self, address: bytes) -> Account:
        """How an address stands in the latest block."""
        asked: list[Call] = [(f"eth_get{what}", [shown(address), "latest"]) for what in ("TransactionCount", "Balance")]
        nonce, balance, head = self._all([*asked, ("eth_blockNumber", [])])
        return Account(number(nonce), number(balance), number(head))

    def receipts(self, hashes: Sequence[bytes]) -> list[Receipt | None]:
        """What became of these transactions, each by its hash; None: it is in no block."""
        if not hashes:
            return []
        told = self._all([("eth_getTransactionReceipt", [shown(item)]) for item in hashes])
        return [None if item is None else _receipt(item) for item in told]

    def logs_of(self, tx_hash: bytes, contract: bytes) -> tuple[int, list[Told]] | None:
        """The block of a transaction, and what it made a contract say; None: it is in no block."""
        told = self.nodes.call("eth_getTransactionReceipt", shown(tx_hash))
        if told is None:
            return None
        receipt = _receipt(told)
        try:
            mine = [item for item in told["logs"] if _bytes(item["address"]) == contract]
        except (KeyError, TypeError):
            message = "a receipt without its logs"
            raise NodeNonsense(message) from None
        return receipt.block_number, [log(item) for item in mine]

    def estimate(self, sender: bytes, contract: bytes, data: bytes) -> int:
        """How much gas a call takes, by a node's estimate. `NodeRefused`: it would be reverted."""
        return number(
            self.nodes.call("eth_estimateGas", {"from": shown(sender), "to": shown(contract), "data": shown(data)})
        )

    def code(self, address: bytes) -> bytes:
        """What stands at an address; nothing, where there is no contract."""
        return _bytes(self.nodes.call("eth_getCode", shown(address), "latest"))

    def send(self, raws: Sequence[bytes]) -> list[NodeError | None]:
        """Hand signed transactions to a node, in this order. For each nothing, or why it was not taken.

        Where no answer came the transaction may have been taken all the same. Never raises.
        """
        answers: list[NodeError | None] = []
        for part in _parts(raws):
            try:
                told = self.nodes.batch([("eth_sendRawTransaction", [shown(raw)]) for raw in part])
            except BatchRefused:
                answers += self._send_singly(part)
            except NodeError as error:
                answers += [error] * len(part)
                if not isinstance(error, NodeRefused):  # whoever comes later has no better luck
                    lost = NodeUnreachable("not sent: the node did not answer for those before")
                    return answers + [lost] * (len(raws) - len(answers))
            else:
                answers += [_taken(item) for item in told]
        return answers

    def _send_singly(self, raws: Sequence[bytes]) -> list[NodeError | None]:
        """For a node that takes one question at a time."""
        answers: list[NodeError | None] = []
        for raw in raws:
            try:
                answers.append(_taken(self.nodes.call("eth_sendRawTransaction", shown(raw))))
            except NodeError as error:
                answers.append(error)
        return answers

    def _all(self, calls: Sequence[Call]) -> list[Any]:
        answers = self.nodes.batch(calls)
        for answer in answers:
            if isinstance(answer, NodeError):
                raise answer
        return answers


@cache
def chain(chain_id: int) -> Chain:
    """The network of this id. Raises `NodeUnreachable`: the environment names no node."""
    return Chain(Nodes(_urls(chain_id), chain_id=chain_id))


@cache
def second(chain_id: int) -> Chain:
    """The same, by its other nodes first where there are several: who checks does not ask who was asked before."""
    first, *others = _urls(chain_id)
    return Chain(Nodes([*others, first], chain_id=chain_id))


def _urls(chain_id: int) -> list[str]:
    found: list[str] = settings.RPC_URLS_OF.get(chain_id) or settings.RPC_URLS
    if not found:
        message = "The environment names no node of a chain (RPC_URL)."
        raise NodeUnreachable(message)
    return found


MOST_AT_ONCE = 100
"""Transactions in one request. geth takes 1,000 calls, others a hundred."""


def _parts(raws: Sequence[bytes]) -> list[list[bytes]]:
    parts: list[list[bytes]] = []
    size = 0
    for raw in raws:
        length = 2 * len(raw) + 120
        if not parts or size + length > LARGEST_REQUEST or len(parts[-1]) == MOST_AT_ONCE:
            parts.append([])
            size = 0
        parts[-1].append(raw)
        size += length
    return parts


def _taken(told: Any) -> NodeError | None:
    """Nothing, where a node answered with a hash; else why it has not taken a transaction."""
    if isinstance(told, NodeError):
        return told
    try:
        _word(told)
    except NodeNonsense as error:
        return error
    return None


def log(told: Any, words: dict[str, bytes] | None = None) -> Told:
    """A log as `eth_getLogs` and a subscription tell of it. Raises `NodeNonsense`.

    `words`: hashes that were met before. Logs of a page share those of their blocks, transactions, sender and event.
    """
    known = {} if words is None else words
    try:
        topics = told["topics"]
        return Told(
            number(told["blockNumber"]),
            _known(told["blockHash"], known),
            number(told["logIndex"]),
            _known(told["transactionHash"], known),
            (
                *[_known(topic, known) for topic in topics[:1]],
                *[_word(topic) for topic in topics[1:2]],  # the job: each has its own
                *[_known(topic, known) for topic in topics[2:]],
            ),
            _bytes(told["data"]),
        )
    except (KeyError, TypeError):
        message = "a log without what every log has"
        raise NodeNonsense(message) from None


def _known(told: Any, words: dict[str, bytes]) -> bytes:
    word = words.get(told)
    if word is None:
        word = words[told] = _word(told)
    return word


def _header(told: Any) -> Header:
    try:
        return Header(number(told["number"]), _word(told["hash"]), _word(told["parentHash"]))
    except (KeyError, TypeError):
        message = "a block without what every block has"
        raise NodeNonsense(message) from None


def _receipt(told: Any) -> Receipt:
    try:
        worked = number(told["status"]) == 1
        return Receipt(number(told["blockNumber"]), _word(told["blockHash"]), worked, number(told["gasUsed"]))
    except (KeyError, TypeError):
        message = "a receipt without what every receipt has"
        raise NodeNonsense(message) from None


def _block(block: int | str) -> str:
    return block if isinstance(block, str) else hex(block)


def _bytes(told: Any) -> bytes:
    try:
        return bytes.fromhex(told.removeprefix("0x"))
    except (AttributeError, TypeError, ValueError):
        message = f"no bytes: {str(told)[:100]!r}"
        raise NodeNonsense(message) from None


def _word(told: Any) -> bytes:
    word = _bytes(told)
    if len(word) != WORD:
        message = f"no hash: {str(told)[:100]!r}"
        raise NodeNonsense(message)
    return word
