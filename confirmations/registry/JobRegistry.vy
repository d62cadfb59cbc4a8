# pragma version ==0.4.3
# pragma evm-version shanghai
# SPDX-License-Identifier: Apache-2.0
"""
@title JobRegistry
@notice Says for good what a job came to. It keeps nothing and asks nobody: what counts is which address sent it, so
        whoever reads its events goes by the senders that he trusts.
"""

MAX_BATCH: constant(uint256) = 200

event JobConfirmed:
    jobId: indexed(bytes32)
    resultHash: bytes32
    sender: indexed(address)

event RootAnchored:
    root: indexed(bytes32)
    count: uint256
    sender: indexed(address)


@external
def confirm(jobId: bytes32, resultHash: bytes32):
    """
    @notice One job.
    @param jobId The 16 bytes of the job's UUID, and 16 zero bytes.
    @param resultHash keccak256 over the canonical JSON of the job's id, kind, payload hash and output.
    """
    log JobConfirmed(jobId=jobId, resultHash=resultHash, sender=msg.sender)


@external
def confirmMany(jobIds: DynArray[bytes32, MAX_BATCH], resultHashes: DynArray[bytes32, MAX_BATCH]):
    """
    @notice Many jobs, each with an event of its own.
    """
    assert len(jobIds) == len(resultHashes), "length"
    for i: uint256 in range(len(jobIds), bound=MAX_BATCH):
        log JobConfirmed(jobId=jobIds[i], resultHash=resultHashes[i], sender=msg.sender)


@external
def anchor(root: bytes32, count: uint256):
    """
    @notice The Merkle root over very many jobs; who has a job and its path can compute it.
    @param count How many leaves the tree has.
    """
    log RootAnchored(root=root, count=count, sender=msg.sender)
