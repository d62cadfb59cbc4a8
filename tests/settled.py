"""A platform of real processes with a chain: its contract is deployed and its signer has funds."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from django.core.management import call_command
from django.test import override_settings

from confirmations import keys, signing
from confirmations.gateway import chain as gateway
from jobs import extensions
from jobs.states import Stage
from tests.anvil import Anvil
from tests.databases import Cluster
from tests.processes import HANDLERS, Platform

PASSPHRASE = "open sesame"
QUEUES = ("default,events", "signing", "capture")
"""What its workers serve: one for each."""


@contextmanager
def settled(
    cluster: Cluster,
    broker_url: str,
    node: Anvil,
    directory: Path,
    *,
    handlers: Sequence[str] = HANDLERS,
    env: Mapping[str, str] | None = None,
) -> Iterator[Platform]:
    """Yields it without a process: those are for the test. `directory` will have the key."""
    directory.chmod(0o700)
    keys.write_keystore(directory / "signer.json", secrets.token_bytes(32), PASSPHRASE.encode())
    chain = {
        "RPC_URL": node.url,
        "RPC_WS_URL": node.ws_url,
        "KEYSTORE_DIR": str(directory),
        "KEYSTORE_PASSPHRASE": PASSPHRASE,
    }
    here = {"RPC_URLS": [node.url], "KEYSTORE_DIR": str(directory), "KEYSTORE_PASSPHRASE": PASSPHRASE}
    gateway.chain.cache_clear()
    signing.key.cache_clear()  # another test's key has the same name
    there = Stage.CONFIRM in extensions.stages
    if not there:
        extensions.stages.register(Stage.CONFIRM, lambda _project, _job: None)
    try:
        told = {**chain, **(env or {})}
        with override_settings(**here), Platform(cluster, broker_url, handlers=handlers, env=told) as platform:
            options = {"name": "anvil", "finality": "depth", "depth": 2, "block_seconds": 1.0, "batch_seconds": 1.0}
            call_command(
                "deploy_registry", fund=True, allow=True, verbosity=0, anchor_seconds=1.0, bump_seconds=20.0, **options
            )
            yield platform
    finally:
        if not there:
            del extensions.stages._things[Stage.CONFIRM]
        gateway.chain.cache_clear()
        signing.key.cache_clear()
