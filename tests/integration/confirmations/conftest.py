"""A node, and a platform's tables that lead to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.anvil import Anvil
from tests.rpc_proxy import RpcProxy
from tests.world import World, forget, make_keystore, world_of


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the key of one signer: opening one takes a second, so all tests of a module share it."""
    return make_keystore(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def node() -> Iterator[Anvil]:
    """A node of this test alone; it makes blocks when it is told to."""
    with Anvil() as anvil:
        yield anvil


@pytest.fixture
def world(node: Anvil, keystore: Path, committed_alone: None, settings: Any) -> Iterator[World]:
    """A platform on a database of its own whose chain is this test's node."""
    with world_of(node, keystore, settings) as world:
        yield world


@pytest.fixture
def proxy(world: World, settings: Any) -> Iterator[RpcProxy]:
    """The node, as the platform reaches it: whatever goes wrong on the way is for the test to say."""
    with RpcProxy(world.node.url) as proxy:
        settings.RPC_URLS = [proxy.url]
        forget()
        yield proxy
