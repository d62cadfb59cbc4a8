"""From a call to signed bytes: whose key, within which bounds, for which fees and how much gas.

Keys are opened by the workers of the queue `signing` alone, on first use. Their bounds stand in a file beside them,
`bounds.json`, which no statement of the database changes:

    {"31337": {"contracts": ["0x…"], "fee_gwei": 500, "gas": 16000000, "ether_a_day": 1}}
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings

from confirmations import fees as pricing
from confirmations import keys
from confirmations.encoding import Signed, Unsigned, signed
from confirmations.errors import KeyRefuses, KeyUnreadable
from confirmations.fees import Fees
from confirmations.gateway.chain import Market
from confirmations.keys import Bounds, Key
from confirmations.models import Network, Signer

BOUNDS = "bounds.json"
GWEI = 10**9
ETHER = 10**18


def passphrase() -> bytes:
    """What opens the keystores. Raises `KeyUnreadable`."""
    given = {keys.PASSPHRASE: settings.KEYSTORE_PASSPHRASE, keys.PASSPHRASE_FILE: settings.KEYSTORE_PASSPHRASE_FILE}
    return keys.passphrase({name: value for name, value in given.items() if value})


@cache
def key(backend: str, name: str) -> Key:
    """A key, by the file in KEYSTORE_DIR or by its id in KMS. Raises `KeyTrouble`."""
    if backend == "kms":
        from confirmations.gateway.kms import KmsKey  # noqa: PLC0415 - boto3 costs every process that starts 0.3 s

        return KmsKey(name)
    if not settings.KEYSTORE_DIR:
        message = "KEYSTORE_DIR is not set: this process reads no keys."
        raise KeyUnreadable(message)
    if Path(name).name != name:
        message = f"The key {name!r} is no file name."
        raise KeyUnreadable(message)
    return keys.open_keystore(Path(settings.KEYSTORE_DIR) / name, passphrase())


def key_of(signer: Signer) -> Key:
    """The key of a signer. Raises `KeyTrouble`: it cannot be read, or is that of another address."""
    found = key(signer.backend, signer.key)
    if found.address != bytes(signer.address):
        key.cache_clear()  # whoever puts the right file there need not start the worker anew
        message = f"The key {signer.key} is not that of {signer}."
        raise KeyUnreadable(message)
    return found


def bounds_of(chain_id: int) -> Bounds:
    """What keys may be used for on a chain. Read each time: an operator may have changed them. Raises `KeyRefuses`."""
    path = Path(settings.KEYSTORE_DIR or ".") / BOUNDS
    try:
        told: Mapping[str, Any] = json.loads(path.read_text())
        found = told[str(chain_id)]
        return Bounds(
            chain_id=chain_id,
            contracts=frozenset(bytes.fromhex(str(item).removeprefix("0x")) for item in found["contracts"]),
            fee=int(float(found["fee_gwei"]) * GWEI),
            gas=int(found["gas"]),
            day=int(float(found["ether_a_day"]) * ETHER),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} does not say what keys may sign on chain {chain_id} ({type(error).__name__})."
        raise KeyRefuses(message) from None


def price(network: Network, market: Market, before: Fees | None) -> Fees | None:
    """What an attempt offers; `before`: what the one offered that it replaces. None: it would be beyond the cap."""
    wanted = pricing.offer(
        next_base=market.next_base, rewards=market.rewards, least_tip=network.least_tip, cap=network.fee_cap
    )
    if before is None:
        return wanted
    return pricing.bump(before, cap=network.fee_cap, wanted=wanted)


def is_short(network: Network, market: Market, fees: Fees | None) -> bool:
    """Whether what an attempt offers gets it into no block as things stand."""
    return fees is None or fees.fee < market.next_base + network.least_tip or fees.tip < network.least_tip


def sign(by: Key, bounds: Bounds, *, nonce: int, to: bytes, data: bytes, gas: int, offered: Fees, spent: int) -> Signed:
    """Sign a call with a key, if it may be used for it. `spent`: wei that may have been spent today.

    Raises:
        KeyRefuses: it may not.
        KeyUnavailable: who holds the key cannot be asked just now.
    """
    call = Unsigned(chain_id=bounds.chain_id, nonce=nonce, tip=offered.tip, fee=offered.fee, gas=gas, to=to, data=data)
    keys.check(call, bounds, own=by.address, spent=spent)
    return signed(call, by.sign(call.digest))
