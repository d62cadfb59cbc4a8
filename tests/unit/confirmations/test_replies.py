"""What nodes say when they refuse a transaction, as they say it."""

import pytest

from confirmations.replies import Reply, classify

SAID = [
    # geth 1.17: core/txpool/errors.go, core/error.go
    (-32000, "already known", Reply.ACCEPTED),
    (-32000, "nonce too low: next nonce 2702, tx nonce 2701", Reply.NONCE_TOO_LOW),
    (-32000, "replacement transaction underpriced", Reply.NEEDS_BUMP),
    (-32000, "transaction underpriced: gas tip cap 0, minimum needed 1", Reply.NEEDS_BUMP),
    (-32000, "max fee per gas less than block base fee: address 0x1, maxFeePerGas: 1, baseFee: 7", Reply.NEEDS_BUMP),
    (-32000, "intrinsic gas too low: gas 20000, minimum needed 21000", Reply.REBUILD),
    (-32000, "insufficient gas for floor data gas cost: gas 1, minimum needed 2", Reply.REBUILD),
    (-32000, "max priority fee per gas higher than max fee per gas: address 0x1", Reply.REBUILD),
    (-32000, "insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1", Reply.FUNDS),
    (-32000, "txpool is full", Reply.BACKPRESSURE),
    (-32000, "account limit exceeded", Reply.BACKPRESSURE),
    (-32000, "in-flight transaction limit reached for delegated accounts", Reply.BACKPRESSURE),
    (-32000, "nonce too high: address 0x1, tx: 9 state: 2", Reply.NONCE_GAP),
    (-32000, "gapped-nonce tx from delegated accounts", Reply.NONCE_GAP),
    (-32000, "invalid sender", Reply.FATAL),
    (-32000, "oversized data: transaction size 200000, limit 131072", Reply.FATAL),
    (-32000, "exceeds block gas limit", Reply.FATAL),
    (-32000, "transaction gas limit too high (cap: 16777216, tx: 20000000)", Reply.FATAL),
    (-32000, "tx fee (2.00 ether) exceeds the configured cap (1.00 ether)", Reply.FATAL),
    (-32000, "transaction type not supported", Reply.FATAL),
    (-32000, "rlp: expected input list for types.DynamicFeeTx", Reply.FATAL),
    (3, "execution reverted: length", Reply.REVERTED),
    (-32002, "request timed out", Reply.UNKNOWN),
    # anvil 1.7
    (-32003, "transaction already imported", Reply.ACCEPTED),
    (-32003, "nonce too low", Reply.NONCE_TOO_LOW),
    (-32003, "replacement transaction underpriced", Reply.NEEDS_BUMP),
    (-32003, "max fee per gas less than block base fee", Reply.NEEDS_BUMP),
    (-32003, "Insufficient funds for gas * price + value", Reply.FUNDS),
    (-32000, "invalid chain id for signer", Reply.FATAL),
    (-32000, "intrinsic gas too high -- tx.gas_limit > env.block.gas_limit", Reply.FATAL),
    (-32602, "Failed to decode transaction", Reply.FATAL),
    # others
    (-32010, "AlreadyKnown", Reply.ACCEPTED),
    (-32010, "FeeTooLow", Reply.NEEDS_BUMP),
    (-32000, "known transaction: 0x12", Reply.ACCEPTED),
    (429, "Too Many Requests", Reply.BACKPRESSURE),
    (-32005, "daily request count exceeded, request rate limited", Reply.BACKPRESSURE),
    (-32603, "internal error", Reply.UNKNOWN),
    (None, "", Reply.UNKNOWN),
    (3, "", Reply.REVERTED),
    (-32602, "invalid argument 0", Reply.FATAL),
]


@pytest.mark.parametrize(("code", "message", "reply"), SAID, ids=[f"{code} {text[:40]}" for code, text, _ in SAID])
def test_a_refusal_says_what_to_do(code: int | None, message: str, reply: Reply) -> None:
    assert classify(code, message) is reply


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        ("unknown transaction: 0x12", Reply.UNKNOWN),
        ("existing txn with same hash", Reply.ACCEPTED),
        ("OwnNonceAlreadyUsed", Reply.ACCEPTED),
        ("Gas price below configured minimum gas price", Reply.NEEDS_BUMP),
        ("underpriced", Reply.NEEDS_BUMP),
        ("pending sub-pool is full", Reply.BACKPRESSURE),
        ("sequencer pending tx pool full, please try again", Reply.BACKPRESSURE),
        ("25/second request limit reached", Reply.BACKPRESSURE),
        ("Upfront cost exceeds account balance", Reply.FUNDS),
        ("InsufficientFunds, Account balance: 0, cumulative cost: 1", Reply.FUNDS),
        ("Intrinsic gas exceeds gas limit", Reply.REBUILD),
        ("GasLimitExceeded", Reply.FATAL),
        ("Transaction fee cap exceeded", Reply.FATAL),
        ("Wrong chainId", Reply.FATAL),
    ],
)
def test_other_clients_have_other_words(message: str, reply: Reply) -> None:
    assert classify(-32000, message) is reply


def test_what_nobody_knows_is_sent_again_and_gets_no_new_nonce() -> None:
    assert classify(-32099, "the moon is full") is Reply.UNKNOWN
