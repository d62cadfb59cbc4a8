"""What nodes and providers say when they refuse, by name: codes, words, data and statuses as they were met with.

Limits are fields, so that a test may set them to what its chain holds: `replace(PROVIDERS["infura"], logs=20)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Error:
    """An error of JSON-RPC. `status`: that of HTTP, where the call is not one of many."""

    code: int
    message: str
    data: Any = None
    status: int = 200

    @property
    def told(self) -> dict[str, Any]:
        """As it stands in a reply."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        return error if self.data is None else error | {"data": self.data}


# ------------------------------------------------------------------------------------------------ ranges of blocks
@dataclass(frozen=True, slots=True)
class Provider:
    """What a provider lets `eth_getLogs` have. Called with the range and the number of its logs: the refusal, or None.

    `blocks` and `logs`: how many at most; None: any number. `only_longer`: `logs` counts for longer ranges only.
    """

    blocks: int | None = None
    logs: int | None = None
    only_longer: int = 0
    too_long: Callable[["Provider", int, int], Error] | None = None
    too_much: Callable[["Provider", int, int], Error] | None = None

    def __call__(self, first: int, last: int, count: int) -> Error | None:
        length = last - first + 1
        if self.too_long is not None and self.blocks is not None and length > self.blocks:
            return self.too_long(self, first, last)
        if self.too_much is not None and self.logs is not None and count > self.logs and length > self.only_longer:
            return self.too_much(self, first, first + max(0, length * self.logs // count - 1))
        return None


def _short(number: int) -> str:
    return f"{number // 1000}K" if number % 1000 == 0 else str(number)


def _alchemy_size(limits: Provider, first: int, last: int) -> Error:
    return Error(
        -32602,
        f"Log response size exceeded. You can make eth_getLogs requests with up to a {_short(limits.only_longer)} block"
        " range and no limit on the response size, or you can request any block range with a cap of"
        f" {_short(limits.logs or 0)} logs in the response. Based on your parameters and the response size limit, this"
        f" block range should work: [{first:#x}, {last:#x}]",
    )


def _alchemy_free(limits: Provider, first: int, last: int) -> Error:
    most = limits.blocks or 0
    return Error(
        -32600,
        f"Under the Free tier plan, you can make eth_getLogs requests with up to a {most} block range. Based on your"
        f" parameters, this block range should work: [{first:#x}, {first + most - 1:#x}]. Upgrade to PAYG for expanded"
        " block range.",
        status=400,
    )


def _infura(limits: Provider, first: int, last: int) -> Error:
    return Error(
        -32005,
        f"query returned more than {limits.logs} results. Try with this block range [{first:#x}, {last:#x}].",
        {"from": hex(first), "limit": limits.logs, "to": hex(last)},
    )


def _ankr_size(limits: Provider, first: int, last: int) -> Error:
    return Error(-32602, f"query exceeds max results {limits.logs}, retry with the range {first}-{last}")


PROVIDERS = {
    "alchemy": Provider(logs=10_000, only_longer=2_000, too_much=_alchemy_size),
    "alchemy free": Provider(blocks=10, too_long=_alchemy_free),
    "infura": Provider(logs=10_000, too_much=_infura),
    "quicknode": Provider(
        blocks=10_000,
        too_long=lambda limits, *_: Error(-32614, f"eth_getLogs is limited to a {limits.blocks:,} range", status=413),
    ),
    "geth": Provider(
        blocks=5_000, too_long=lambda limits, *_: Error(-32602, f"exceed maximum block range {limits.blocks}")
    ),
    "ankr": Provider(
        blocks=3_000,
        logs=200_000,
        too_long=lambda *_: Error(-32600, "block range is too wide"),
        too_much=_ankr_size,
    ),
    "1rpc": Provider(
        blocks=1_000,
        too_long=lambda limits, *_: Error(-32000, f"eth_getLogs is limited to a {limits.blocks} blocks range"),
    ),
}

TIMEOUTS = {
    "geth": Error(-32002, "request timed out"),
    "infura": Error(-32000, "query timeout exceeded"),
    "alchemy": Error(
        -32000,
        "Query timeout exceeded. Consider reducing your block range. Based on your parameters and the response size"
        " limit, this block range should work: [0x10, 0x1f]",
        status=400,
    ),
}

# ------------------------------------------------------------------------------------------------ any call
RATE_LIMIT = Error(
    -32005,
    "daily request count exceeded, request rate limited",
    {"rate": {"allowed_rps": 1, "backoff_seconds": 30, "current_rps": 1.4}},
)
BEYOND_HEAD = Error(-32602, "block range extends beyond current head block")
BATCH_TOO_LARGE = Error(-32600, "batch too large")
UNKNOWN_BLOCK = Error(-32000, "unknown block")

# ------------------------------------------------------------------------------------------------ eth_sendRawTransaction
SENDING = {
    "already known": {
        "geth": Error(-32000, "already known"),
        "anvil": Error(-32003, "transaction already imported"),
        "besu": Error(-32000, "Known transaction"),
        "nethermind": Error(-32010, "AlreadyKnown"),
        "erigon": Error(-32000, "existing txn with same hash"),
        "parity": Error(-32010, "Transaction with the same hash was already imported."),
    },
    "nonce too low": {
        "geth": Error(-32000, "nonce too low: next nonce 8, tx nonce 7"),
        "anvil": Error(-32003, "nonce too low"),
        "besu": Error(-32001, "Nonce too low"),
        "nethermind": Error(-32010, "OldNonce, Current nonce: 8, nonce of rejected tx: 7"),
        "parity": Error(-32010, "Transaction nonce is too low. Try incrementing the nonce."),
    },
    "nonce too high": {
        "geth": Error(-32000, "nonce too high: address 0x01, tx: 9 state: 7"),
        "besu": Error(-32006, "Nonce too high"),
        "nethermind": Error(-32010, "NonceGap, Future nonce. Expected nonce: 7"),
    },
    "replacement underpriced": {
        "geth": Error(-32000, "replacement transaction underpriced"),
        "anvil": Error(-32003, "replacement transaction underpriced"),
        "besu": Error(-32000, "Replacement transaction underpriced"),
        "erigon": Error(-32000, "could not replace existing tx"),
    },
    "underpriced": {
        "geth": Error(-32000, "transaction underpriced: gas tip cap 0, minimum needed 1"),
        "besu": Error(-32009, "Gas price below configured minimum gas price"),
        "nethermind": Error(-32010, "FeeTooLowToCompete"),
        "erigon": Error(-32000, "underpriced"),
    },
    "below base fee": {
        "geth": Error(-32000, "max fee per gas less than block base fee: address 0x01, maxFeePerGas: 1, baseFee: 7"),
        "anvil": Error(-32003, "max fee per gas less than block base fee"),
        "besu": Error(-32009, "Gas price below current base fee"),
    },
    "txpool full": {
        "geth": Error(-32000, "txpool is full"),
        "reth": Error(-32003, "txpool is full"),
        "erigon": Error(-32000, "pending sub-pool is full"),
        "arbitrum": Error(-32000, "sequencer pending tx pool full, please try again"),
    },
    "account limit": {"geth": Error(-32000, "account limit exceeded")},
    "insufficient funds": {
        "geth": Error(-32000, "insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1"),
        "anvil": Error(-32003, "Insufficient funds for gas * price + value"),
        "besu": Error(-32004, "Upfront cost exceeds account balance"),
        "nethermind": Error(-32010, "InsufficientFunds, Account balance: 0, cumulative cost: 1"),
        "erigon": Error(-32000, "insufficient funds"),
    },
    "intrinsic gas": {
        "geth": Error(-32000, "intrinsic gas too low: gas 20000, minimum needed 21000"),
        "besu": Error(-32003, "Intrinsic gas exceeds gas limit"),
        "erigon": Error(-32000, "IntrinsicGas"),
    },
    "gas limit": {
        "geth": Error(-32000, "exceeds block gas limit"),
        "anvil": Error(-32000, "intrinsic gas too high -- tx.gas_limit > env.block.gas_limit"),
        "besu": Error(-32005, "Transaction gas limit exceeds block gas limit"),
        "nethermind": Error(-32010, "GasLimitExceeded, Gas limit: 1, gas limit of rejected tx: 2"),
    },
    "fee cap": {
        "geth": Error(-32000, "tx fee (2.00 ether) exceeds the configured cap (1.00 ether)"),
        "besu": Error(-32000, "Transaction fee cap exceeded"),
    },
    "wrong chain": {
        "geth": Error(-32000, "invalid sender"),
        "anvil": Error(-32000, "invalid chain id for signer"),
        "besu": Error(-32000, "Wrong chainId"),
    },
    "undecodable": {
        "geth": Error(-32000, "rlp: expected input list for types.DynamicFeeTx"),
        "anvil": Error(-32602, "Failed to decode transaction"),
    },
    "reverted": {"geth": Error(3, "execution reverted: length", "0x08c379a0")},
    "timeout": {"geth": TIMEOUTS["geth"]},
    "internal": {"geth": Error(-32603, "internal error")},
    "nobody knows": {"geth": Error(-32099, "the moon is full")},
}
"""What `eth_sendRawTransaction` is refused with: by what is meant, then by who says it."""
