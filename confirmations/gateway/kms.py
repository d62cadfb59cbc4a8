"""A key that never leaves AWS KMS: it is asked to sign a digest, and answers with a signature that is new each time."""

from typing import Any

import boto3
import botocore.exceptions
from botocore.config import Config
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key
from eth_keys.datatypes import PublicKey
from eth_keys.datatypes import Signature as Recoverable
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from confirmations.encoding import ORDER, Signature
from confirmations.errors import KeyUnavailable, KeyUnreadable
from confirmations.results import shown

ALGORITHM = "ECDSA_SHA_256"
CONNECT_SECONDS, READ_SECONDS, TRIES = 3.0, 10.0, 2
"""So long an answer is waited for, so often: less than the job that sends may take. It comes back by itself."""


class KmsKey:
    """A key of AWS KMS (`ECC_SECG_P256K1`, `SIGN_VERIFY`), by its id, ARN or alias."""

    def __init__(self, key_id: str, client: Any = None) -> None:
        """Ask for the public key. Raises `KeyUnavailable`, `KeyUnreadable`: it is a key of another sort."""
        self._key_id = key_id
        self._client = client or _client()
        told = self._ask("get_public_key")
        try:
            found = load_der_public_key(told["PublicKey"])
        except (ValueError, UnsupportedAlgorithm):
            found = None  # of a sort that nobody here knows
        if not isinstance(found, EllipticCurvePublicKey) or not isinstance(found.curve, SECP256K1):
            message = f"The key {key_id} of KMS is not on the curve secp256k1 (ECC_SECG_P256K1)."
            raise KeyUnreadable(message)
        point = found.public_numbers()
        self._public = PublicKey(point.x.to_bytes(32) + point.y.to_bytes(32))

    @property
    def address(self) -> bytes:
        """Whose transactions these are."""
        return self._public.to_canonical_address()

    def sign(self, digest: bytes) -> Signature:
        """Sign 32 bytes. Each time another signature: what it made is kept, and never made again.

        Raises `KeyUnavailable`.
        """
        told = self._ask("sign", Message=digest, MessageType="DIGEST", SigningAlgorithm=ALGORITHM)
        try:
            r, s = decode_dss_signature(told["Signature"])
        except ValueError:
            message = f"What KMS answered for {shown(self.address)} is no signature."
            raise KeyUnavailable(message) from None
        s = min(s, ORDER - s)  # KMS does not care; nodes take the lower one only (EIP-2)
        for parity in (0, 1):
            try:
                found = Recoverable(vrs=(parity, r, s)).recover_public_key_from_msg_hash(digest)
            except (BadSignature, ValidationError):
                continue
            if found == self._public:
                return Signature(r, s, parity)
        message = f"What KMS signed for {shown(self.address)} is not of its key."
        raise KeyUnavailable(message)

    def _ask(self, what: str, **said: Any) -> Any:
        try:
            return getattr(self._client, what)(KeyId=self._key_id, **said)
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            # The text of a client's error names the key and the operation, and nothing that is secret.
            message = f"KMS did not {what.replace('_', ' ')}: {error}"
            raise KeyUnavailable(message) from None

    def __repr__(self) -> str:
        return f"<key of {shown(self.address)} in KMS>"


def _client() -> Any:
    retries: Any = {"mode": "standard", "total_max_attempts": TRIES}
    try:
        return boto3.client(
            "kms", config=Config(connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries=retries)
        )
    except (botocore.exceptions.BotoCoreError, ValueError) as error:  # the environment names no region, or nonsense
        message = f"KMS cannot be asked: {error}"
        raise KeyUnreadable(message) from None
