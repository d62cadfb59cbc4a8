"""Merkle trees: each leaf has a proof, and nothing else has."""

import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from confirmations import merkle

WORDS = st.binary(min_size=32, max_size=32)
LEAVES = st.lists(WORDS, min_size=1, max_size=70, unique=True)


@given(LEAVES)
def test_each_leaf_has_a_proof(leaves: list[bytes]) -> None:
    tree = merkle.tree(leaves)

    for position, leaf in enumerate(leaves):
        hashes = merkle.proof(tree, position)
        assert merkle.verify(tree.root, leaf, hashes)
        assert len(hashes) <= (len(leaves) - 1).bit_length()


@given(LEAVES, WORDS)
def test_nothing_else_has(leaves: list[bytes], stranger: bytes) -> None:
    tree = merkle.tree(leaves)

    for position, leaf in enumerate(leaves):
        assert merkle.verify(tree.root, stranger, merkle.proof(tree, position)) == (stranger == leaf)


@given(WORDS, WORDS)
def test_an_inner_node_is_no_leaf(job: bytes, result: bytes) -> None:
    """Its two halves would be a job's id and a result; but a leaf is hashed twice."""
    assert merkle.leaf(job, result) == keccak(keccak(job + result))
    assert merkle.leaf(job, result) != keccak(job + result)


def test_a_tree_is_what_the_standard_library_of_contracts_verifies() -> None:
    """By hand: three leaves, the third goes up alone; pairs are sorted."""
    one, two, three = (bytes([number]) * 32 for number in (3, 1, 2))
    below = keccak(two + one)
    root = keccak(min(below, three) + max(below, three))

    assert merkle.tree([one, two, three]).root == root
    assert merkle.proof(merkle.tree([one, two, three]), 2) == [below]


def test_one_leaf_is_its_own_root() -> None:
    tree = merkle.tree([b"\7" * 32])
    assert (tree.root, merkle.proof(tree, 0)) == (b"\7" * 32, [])


@pytest.mark.parametrize("position", [-1, 3])
def test_a_leaf_that_is_not_there_has_no_path(position: int) -> None:
    with pytest.raises(IndexError, match="no leaf"):
        merkle.path(3, position)
