"""A key of AWS KMS, against moto's server."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from eth_keys.datatypes import Signature as Recoverable
from moto import mock_aws
from moto.kms.utils import ECDSAPrivateKey

from confirmations.encoding import ORDER, Unsigned, signed
from confirmations.errors import KeyUnavailable, KeyUnreadable
from confirmations.gateway.kms import KmsKey

UNSIGNED = Unsigned(chain_id=31337, nonce=7, tip=1, fee=10, gas=50_000, to=bytes(range(20)), data=b"\x01")


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of moto's. Moto hashes what is a hash already (`MessageType=DIGEST`), which KMS does not."""

    def sign(self: Any, message: bytes, _algorithm: str) -> bytes:
        made: bytes = self.private_key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256())))
        return made

    monkeypatch.setattr(ECDSAPrivateKey, "sign", sign)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield boto3.client("kms", region_name="us-east-1")


def made(kms: Any, spec: str = "ECC_SECG_P256K1") -> str:
    key: str = kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    return key


def test_what_kms_signs_is_of_its_key_and_is_what_nodes_take(kms: Any) -> None:
    key = KmsKey(made(kms), kms)

    for _ in range(20):  # half of what it answers has the higher of the two s
        signature = key.sign(UNSIGNED.digest)
        recovered = Recoverable(vrs=(signature.parity, signature.r, signature.s))
        public: Any = recovered.recover_public_key_from_msg_hash(UNSIGNED.digest)
        assert public.to_canonical_address() == key.address
        assert signature.s <= ORDER // 2
    assert signed(UNSIGNED, key.sign(UNSIGNED.digest)).hash != signed(UNSIGNED, key.sign(UNSIGNED.digest)).hash


def test_a_key_of_another_curve_is_refused(kms: Any) -> None:
    for spec in ("ECC_NIST_P256", "RSA_2048"):
        with pytest.raises(KeyUnreadable, match="secp256k1"):
            KmsKey(made(kms, spec), kms)


def test_a_key_that_is_not_there_cannot_be_asked(kms: Any) -> None:
    with pytest.raises(KeyUnavailable, match="get public key"):
        KmsKey("00000000-0000-0000-0000-000000000000", kms)


def test_a_signature_of_another_key_is_not_taken(kms: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    key = KmsKey(made(kms), kms)
    monkeypatch.setattr(ECDSAPrivateKey, "sign", lambda *_: encode_dss_signature(7, 9))

    with pytest.raises(KeyUnavailable, match="not of its key"):
        key.sign(UNSIGNED.digest)
