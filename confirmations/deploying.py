"""Making a JobRegistry on a network with the key of a signer."""

import time

import rlp
from eth_hash.auto import keccak

from confirmations import registry
from confirmations.encoding import Unsigned, signed
from confirmations.errors import NoContract, NodeError, NodeRefused
from confirmations.gateway.chain import Chain, Receipt
from confirmations.keys import Key

PAUSE_SECONDS = 0.2
GAS = 300_000
"""More than it takes (178,000)."""


def address_of(sender: bytes, nonce: int) -> bytes:
    """Where the contract lies that a transaction with this nonce makes (the Yellow Paper, §7)."""
    return keccak(rlp.encode([sender, nonce]))[12:]


def deploy(net: Chain, key: Key, *, chain_id: int, wait_seconds: float) -> tuple[bytes, int]:
    """Make the contract; returns its address and its block.

    Raises:
        NodeError: a node cannot be asked, or refuses.
        NoContract: it was not there within the time.
    """
    nonce = net.account(key.address).nonce
    market = net.market()
    tip = max([*market.rewards[-1:], 10**9])
    call = Unsigned(
        chain_id=chain_id,
        nonce=nonce,
        tip=tip,
        fee=2 * market.next_base + tip,
        gas=GAS,
        to=b"",
        data=registry.bytecode(),
    )
    made = signed(call, key.sign(call.digest))
    (error,) = net.send([made.raw])
    if isinstance(error, NodeRefused):
        raise error
    receipt = _receipt(net, made.hash, wait_seconds)
    if receipt is None or not receipt.worked:
        message = f"The transaction 0x{made.hash.hex()} made no contract within {wait_seconds:g} s."
        raise NoContract(message)
    return address_of(key.address, nonce), receipt.block_number


def _receipt(net: Chain, tx_hash: bytes, seconds: float) -> Receipt | None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            (found,) = net.receipts([tx_hash])
        except NodeError:
            found = None
        if found is not None:
            return found
        time.sleep(PAUSE_SECONDS)
    return None
