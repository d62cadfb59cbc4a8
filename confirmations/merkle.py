"""Merkle trees over many results, as OpenZeppelin's `MerkleProof` verifies them.

A leaf is hashed twice, so that no inner node can pass for one; a pair is hashed in the order of its two values, so that
a proof is a list of hashes without sides. A node without a partner goes up as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eth_hash.auto import keccak

WORD = 32


def leaf(job: bytes, result: bytes) -> bytes:
    """The leaf of one job. `job`: its id as bytes32 (`results.job_bytes`); `result`: its result hash."""
    return keccak(keccak(job + result))


@dataclass(frozen=True, slots=True)
class Tree:
    """All levels of a tree, the leaves first, one after another in `nodes`: 32 bytes each."""

    leaves: int
    nodes: bytes

    @property
    def root(self) -> bytes:
        """Its root."""
        return self.nodes[-WORD:]


def tree(leaves: Sequence[bytes]) -> Tree:
    """Build the tree over these leaves, of which there is at least one."""
    level, levels = list(leaves), [b"".join(leaves)]
    while len(level) > 1:
        above = [_pair(level[n], level[n + 1]) for n in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level = above
        levels.append(b"".join(level))
    return Tree(len(leaves), b"".join(levels))


def path(leaves: int, position: int) -> list[int]:
    """Where in the `nodes` of a tree with so many leaves the proof of one of them stands: numbers of 32-byte words."""
    if not 0 <= position < leaves:
        message = f"a tree of {leaves} leaves has no leaf {position}"
        raise IndexError(message)
    found, first, width = [], 0, leaves
    while width > 1:
        partner = position ^ 1
        if partner < width:
            found.append(first + partner)
        first += width
        position //= 2
        width = (width + 1) // 2
    return found


def proof(of: Tree, position: int) -> list[bytes]:
    """The hashes that lead from a leaf to the root."""
    return [of.nodes[word * WORD : (word + 1) * WORD] for word in path(of.leaves, position)]


def verify(root: bytes, start: bytes, hashes: Sequence[bytes]) -> bool:
    """Whether these hashes lead from a leaf to the root."""
    node = start
    for other in hashes:
        node = _pair(node, other)
    return node == root


def _pair(one: bytes, other: bytes) -> bytes:
    return keccak(one + other if one < other else other + one)
