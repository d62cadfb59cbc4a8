"""Transactions as bytes, compared with an example that another implementation made."""

import pytest

from confirmations import encoding
from confirmations.encoding import Signature, Unsigned

# Made and signed by eth-account 0.14 with the key of 32 bytes 0x01.
EXAMPLE = Unsigned(
    chain_id=31337,
    nonce=7,
    tip=1_000_000_000,
    fee=3_000_000_000,
    gas=26_000,
    to=bytes.fromhex("5fbdb2315678afecb367f032d93f642f64180aa3"),
    data=bytes.fromhex("0123456789abcdef"),
)
RAW = "02f874827a6907843b9aca0084b2d05e00826590945fbdb2315678afecb367f032d93f642f64180aa380880123456789abcdefc001a02ad3bc702568e133e4b217f93582e35fe49e008fad24ffddc4f96d1969d70697a04cc409cf46c4283e57787d47d2676cb09b1e0b07ee72cb71201e6db7529d4039"
HASH = "129fc6b0890159d887a6db9448e2a97a9b9e3ea0649909fa841a40e43813ed24"
SIGNATURE = Signature(
    0x2AD3BC702568E133E4B217F93582E35FE49E008FAD24FFDDC4F96D1969D70697,
    0x4CC409CF46C4283E57787D47D2676CB09B1E0B07EE72CB71201E6DB7529D4039,
    1,
)


def test_the_bytes_are_those_of_another_implementation() -> None:
    assert EXAMPLE.digest.hex() == "0d5f33b7487c8dbd6403a52cd0624911b3499874dce056daa4ace43d5fb48e37"

    made = encoding.signed(EXAMPLE, SIGNATURE)
    assert made.raw.hex() == RAW
    assert made.hash.hex() == HASH


def test_a_signature_that_no_node_takes_is_refused() -> None:
    with pytest.raises(ValueError, match="higher of its two s"):
        encoding.signed(EXAMPLE, Signature(SIGNATURE.r, encoding.ORDER - SIGNATURE.s, SIGNATURE.parity ^ 1))


def test_names_of_calls_and_events_are_hashed_as_the_abi_wants_it() -> None:
    assert encoding.selector("transfer(address,uint256)").hex() == "a9059cbb"
    assert (
        encoding.topic("Transfer(address,address,uint256)").hex()
        == "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    )


def test_two_arrays_are_laid_out_as_the_abi_wants_it() -> None:
    one, two = b"\1" * 32, b"\2" * 32

    call = encoding.pairs(b"abcd", [one, two], [two, one])

    assert call[:4] == b"abcd"
    found = [call[4 + 32 * n : 36 + 32 * n] for n in range((len(call) - 4) // 32)]
    first, second = (int.from_bytes(word) // 32 for word in found[:2])
    assert [int.from_bytes(found[first]), *found[first + 1 : first + 3]] == [2, one, two]
    assert [int.from_bytes(found[second]), *found[second + 1 : second + 3]] == [2, two, one]
    assert second + 3 == len(found)
