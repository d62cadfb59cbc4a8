"""A key of AWS KMS, against moto's server: what it signs, and jobs on a chain that are confirmed by it."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from eth_keys.datatypes import Signature as Recoverable
from moto.core.exceptions import JsonRESTError
from moto.kms.utils import ECDSAPrivateKey
from moto.server import ThreadedMotoServer

from confirmations import signing
from confirmations.encoding import ORDER, Unsigned, signed
from confirmations.errors import KeyUnavailable, KeyUnreadable
from confirmations.gateway import kms as gateway
from confirmations.gateway.kms import KmsKey
from confirmations.models import Attempt, Network, Transaction
from jobs.models import Intervention
from tests.anvil import Anvil
from tests.integration.confirmations.test_answers import SEND, confirmed_once, settle
from tests.rpc_faults import RequestLost
from tests.rpc_proxy import RpcProxy
from tests.world import World, world_of

UNSIGNED = Unsigned(chain_id=31337, nonce=7, tip=1, fee=10, gas=50_000, to=bytes(range(20)), data=b"\x01")
HOST = "127.0.0.1"


class Server:
    """moto's server, which may be away, or refuse to sign."""

    def __init__(self) -> None:
        self._moto = ThreadedMotoServer(HOST, 0, verbose=False)
        self._moto.start()
        self.port = self._moto.get_host_and_port()[1]
        self.url = f"http://{HOST}:{self.port}"
        self.left: int | None = None  # so many signatures, and then it refuses
        self.refuses = "ThrottlingException"
        self.signed = 0

    def sign(self, key: Any, message: bytes) -> bytes:
        """Sign what is a hash already. Moto hashes it once more (`MessageType=DIGEST`), which KMS does not."""
        if self.left is not None:
            if self.left == 0:
                raise JsonRESTError(self.refuses, "not now")
            self.left -= 1
        self.signed += 1
        made: bytes = key.private_key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256())))
        return made

    def stop(self) -> None:
        """Nobody listens any more; keys stay."""
        self._moto.stop()
        if self._moto._server is not None:
            self._moto._server.server_close()

    def start(self) -> None:
        """Listen again, on the same port."""
        self._moto = ThreadedMotoServer(HOST, self.port, verbose=False)
        self._moto.start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of KMS, as the environment tells everybody."""
    server = Server()

    def sign(key: Any, message: bytes, _algorithm: str) -> bytes:
        return server.sign(key, message)

    monkeypatch.setattr(ECDSAPrivateKey, "sign", sign)
    given = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**given, "AWS_ENDPOINT_URL_KMS": server.url}.items():
        monkeypatch.setenv(name, value)
    signing.key.cache_clear()
    yield server
    signing.key.cache_clear()
    server.stop()


@pytest.fixture
def kms(server: Server) -> Any:
    return boto3.client("kms")


def made(kms: Any, spec: str = "ECC_SECG_P256K1") -> str:
    key: str = kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    return key


def test_what_kms_signs_is_of_its_key_and_is_what_nodes_take(kms: Any) -> None:
    key = KmsKey(made(kms))

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
            KmsKey(made(kms, spec))


def test_a_key_that_is_not_there_cannot_be_asked(kms: Any) -> None:
    with pytest.raises(KeyUnavailable, match="get public key"):
        KmsKey("00000000-0000-0000-0000-000000000000")


def test_a_signature_of_another_key_is_not_taken(kms: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    key = KmsKey(made(kms))
    monkeypatch.setattr(ECDSAPrivateKey, "sign", lambda *_: encode_dss_signature(7, 9))

    with pytest.raises(KeyUnavailable, match="not of its key"):
        key.sign(UNSIGNED.digest)


def test_an_answer_that_is_no_signature_is_not_taken(kms: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    key = KmsKey(made(kms))
    monkeypatch.setattr(ECDSAPrivateKey, "sign", lambda *_: b"signed")

    with pytest.raises(KeyUnavailable, match="no signature"):
        key.sign(UNSIGNED.digest)


def test_a_process_that_is_told_no_region_says_so(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")

    with pytest.raises(KeyUnreadable, match="region"):
        KmsKey("00000000-0000-0000-0000-000000000000")


def test_a_server_that_never_answers_is_not_waited_for_longer_than_a_job_may_take(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gateway.TRIES * (gateway.CONNECT_SECONDS + gateway.READ_SECONDS) < 60
    monkeypatch.setattr(gateway, "READ_SECONDS", 0.1)
    with socket.create_server((HOST, 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://{HOST}:{silent.getsockname()[1]}")
        with pytest.raises(KeyUnavailable, match="get public key"):
            KmsKey("00000000-0000-0000-0000-000000000000")


# ---------------------------------------------------------------------------------------------- on a chain
@pytest.fixture
def world(  # noqa: PLR0917 - fixtures
    node: Anvil, keystore: Path, committed_alone: None, settings: Any, kms: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """A platform whose signer is a key of KMS. Its client makes no pauses of its own."""
    monkeypatch.setattr(gateway, "TRIES", 1)
    with world_of(node, keystore, settings, kms=made(kms)) as world:
        yield world


def test_jobs_are_confirmed_by_a_key_of_kms(world: World, server: Server) -> None:
    Network.objects.update(batch_seconds=0)
    ids = world.submit(2) + world.submit(5, confirm="batch")
    world.settle()

    assert (world.signer.backend, server.signed) == ("kms", 1 + 3)  # the contract, two jobs, a batch
    assert world.node.sent()[str(world.signer)] == 1 + 3
    confirmed_once(world, ids)


def away(server: Server) -> Callable[[], None]:
    server.stop()
    return server.start


def forgetful(server: Server) -> Callable[[], None]:
    """Away, and whoever signs has been started anew: not even the address of the key is known."""
    signing.key.cache_clear()
    return away(server)


def refusing(code: str) -> Callable[[Server], Callable[[], None]]:
    def refuse(server: Server) -> Callable[[], None]:
        server.left, server.refuses = 0, code
        return lambda: setattr(server, "left", None)

    return refuse


TROUBLE: dict[str, Callable[[Server], Callable[[], None]]] = {
    "away": away,
    "away since a start": forgetful,
    "throttled": refusing("ThrottlingException"),
    "disabled": refusing("DisabledException"),
    "pending deletion": refusing("KMSInvalidStateException"),
    "denied": refusing("AccessDeniedException"),
}
"""What makes it; returns what ends it."""


@pytest.mark.parametrize("trouble", TROUBLE)
def test_while_kms_does_not_sign_jobs_wait_and_what_it_signed_before_leaves(
    world: World, proxy: RpcProxy, server: Server, trouble: str
) -> None:
    early = world.submit(1)
    world.ask()
    with proxy.having(RequestLost(methods=SEND)):
        world.send_quietly()
    (kept,) = Attempt.objects.values_list("raw", flat=True)
    end = TROUBLE[trouble](server)
    late = world.submit(2)
    world.ask()
    world.send_quietly()

    assert (world.sender().error or {})["code"] == "key_unavailable"
    assert world.sender().status == "queued"
    (sent,) = (call.params for call in proxy.calls.of(SEND, moment="done"))
    assert sent == ["0x" + bytes(kept).hex()]
    world.node.mine(3)
    world.read()
    assert world.statuses(early + late) == ["confirmed", "confirming", "confirming"]
    assert not Intervention.objects.exists()

    end()
    settle(world)
    confirmed_once(world, early + late)
    assert server.signed == 1 + 3  # nothing was signed twice


def test_a_key_that_signs_few_at_a_time_signs_all_in_the_end(world: World, server: Server) -> None:
    ids = world.submit(5)
    world.ask()
    for _ in range(3):
        server.left = 2
        world.send_quietly()

    assert Transaction.objects.filter(step="sent").count() == len(ids)
    assert server.signed == 1 + len(ids)
    world.node.mine(3)
    world.read()
    confirmed_once(world, ids)
