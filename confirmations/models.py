"""Networks and their contracts, signers and their transactions, what jobs are confirmed by, and what the chain says.

Amounts are in wei, fees in wei per gas. Only confirmations belong to a project; all else is the platform's. Foreign
keys have no index of their own: where one is asked for, another index begins with it.
"""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from confirmations.states import OPEN, Duty, Finality, Standing, Step, Try


class Network(models.Model):
    """A chain, and how results go on it. Where its nodes are is said by the environment, never by the database."""

    chain_id = models.BigIntegerField(primary_key=True)
    name = models.TextField(unique=True)
    default = models.BooleanField(default=False)  # whose is what does not say where it goes
    finality = models.TextField(default=Finality.FINALIZED, choices=[(f.value, f.value) for f in Finality])
    depth = models.IntegerField(default=64)  # blocks on top, where `finality` is depth
    block_seconds = models.FloatField(default=12.0)
    least_tip = models.BigIntegerField(default=100_000_000)
    fee_cap = models.BigIntegerField(default=500_000_000_000)
    in_flight = models.SmallIntegerField(default=16)  # unmined transactions of one signer: what nodes keep of one
    bump_seconds = models.FloatField(default=60.0)  # unmined for so long: the same nonce with higher fees
    batch_size = models.SmallIntegerField(default=100)
    batch_seconds = models.FloatField(default=2.0)
    anchor_size = models.IntegerField(default=10_000)
    anchor_seconds = models.FloatField(default=10.0)
    head = models.BigIntegerField(null=True)  # the highest block that a node told of, and when
    final = models.BigIntegerField(null=True)
    seen_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                name="confirmations_network_default", fields=("default",), condition=Q(default=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.chain_id})"


class Contract(models.Model):
    """A JobRegistry on a network, how far its logs are read, and who reads them.

    All blocks from `deploy_block` to before `next_block` are read. `lease_no` is the fence of the reader: it rises with
    each, and who finds another one there has lost it.
    """

    id = models.UUIDField(primary_key=True)
    network = models.ForeignKey(Network, models.PROTECT, db_index=False)
    address = models.BinaryField()
    deploy_block = models.BigIntegerField()
    active = models.BooleanField(default=True)
    next_block = models.BigIntegerField()
    span = models.JSONField(default=dict)  # how many blocks are asked for at once (confirmations/ranges.py)
    lease_no = models.IntegerField(default=0)
    lease_by = models.UUIDField(null=True)  # the job that reads
    lease_until = models.DateTimeField(null=True)
    swept_to = models.BigIntegerField(null=True)  # final blocks up to here were read twice
    sweep_misses = models.BigIntegerField(default=0)
    seq = models.IntegerField(default=0)
    strangers = models.BigIntegerField(default=0)  # events of senders that are none of our signers

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="confirmations_contract_address", fields=("network", "address")),
        ]

    def __str__(self) -> str:
        return f"0x{bytes(self.address).hex()}"


class Signer(models.Model):
    """An address on a network with its line of nonces. Its row is the lock of whoever reserves one."""

    id = models.UUIDField(primary_key=True)
    network = models.ForeignKey(Network, models.PROTECT, db_index=False)
    address = models.BinaryField()
    backend = models.TextField(default="keystore", choices=[("keystore", "keystore"), ("kms", "kms")])
    key = models.TextField(default="", blank=True)  # file name in KEYSTORE_DIR, or id of the key in KMS
    duty = models.TextField(default=Duty.ACTIVE, choices=[(d.value, d.value) for d in Duty])
    reason = models.TextField(default="", blank=True)
    next_nonce = models.BigIntegerField(default=0)
    mined_nonce = models.BigIntegerField(default=0)  # what the chain expects next
    balance = models.DecimalField(max_digits=78, decimal_places=0, null=True)  # as large as 256 bits can say
    seen_at = models.DateTimeField(null=True)
    seq = models.IntegerField(default=0)

    class Meta:
        permissions: ClassVar = [
            ("pause_signer", "May pause and resume signers"),
            ("repair", "May decide about transactions, confirmations and signers"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(name="confirmations_signer_address", fields=("network", "address")),
        ]

    def __str__(self) -> str:
        return f"0x{bytes(self.address).hex()}"


class Transaction(models.Model):
    """One nonce of a signer, what is called with it, and how that stands. `count`: how many jobs it confirms."""

    id = models.UUIDField(primary_key=True)
    signer = models.ForeignKey(Signer, models.PROTECT, db_index=False)
    contract = models.ForeignKey(Contract, models.PROTECT, db_index=False)
    nonce = models.BigIntegerField()
    mode = models.TextField()
    data = models.BinaryField()
    count = models.IntegerField()
    step = models.TextField(default=Step.RESERVED, choices=[(s.value, s.value) for s in Step])
    seq = models.IntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True)  # first taken by a node
    block_number = models.BigIntegerField(null=True)
    block_hash = models.BinaryField(null=True)
    tx_hash = models.BinaryField(null=True)  # of the attempt that was mined
    gas_used = models.BigIntegerField(null=True)
    frees = models.BooleanField(default=False)  # the next attempt uses up the nonce, and the call is never made
    offer = models.JSONField(null=True)  # {"tip", "fee"}: what a person wants the next attempt to offer
    silent_since = models.BigIntegerField(null=True)  # its nonce was used at this head, and nobody knows by what
    reason = models.TextField(default="", blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="confirmations_transaction_nonce", fields=("signer", "nonce")),
        ]
        indexes: ClassVar = [
            models.Index(
                name="confirmations_transaction_open",
                fields=("signer", "nonce"),
                condition=Q(step__in=OPEN),
            ),
        ]

    def __str__(self) -> str:
        return f"nonce {self.nonce}"


class Attempt(models.Model):
    """Signed bytes at a transaction's nonce. They are written before the first of them leaves, and never changed.

    `frees`: it sends nothing to the signer itself, so that the nonce is used and the call never happens.
    """

    id = models.BigAutoField(primary_key=True)
    transaction = models.ForeignKey(Transaction, models.PROTECT, db_index=False)
    number = models.SmallIntegerField()
    raw = models.BinaryField()
    hash = models.BinaryField(unique=True)
    tip = models.BigIntegerField()
    fee = models.BigIntegerField()
    gas = models.BigIntegerField()
    frees = models.BooleanField(default=False)
    state = models.TextField(default=Try.SIGNED, choices=[(t.value, t.value) for t in Try])
    sends = models.IntegerField(default=0)
    signed_at = models.DateTimeField(db_default=Now())
    first_sent_at = models.DateTimeField(null=True)  # when a node took it
    sent_at = models.DateTimeField(null=True)  # the last time that it left
    reply = models.TextField(default="", blank=True)  # confirmations/replies.py
    said = models.TextField(default="", blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="confirmations_attempt_number", fields=("transaction", "number")),
        ]

    def __str__(self) -> str:
        return f"0x{bytes(self.hash).hex()}"


class Confirmation(models.Model):
    """That the result of a job goes on chain, and how far that is. It has the id of its job."""

    id = models.UUIDField(primary_key=True)
    project_id = models.UUIDField()
    contract = models.ForeignKey(Contract, models.PROTECT, db_index=False)
    signer = models.ForeignKey(Signer, models.PROTECT, db_index=False)
    transaction = models.ForeignKey(Transaction, models.PROTECT, null=True, db_index=False)
    position = models.IntegerField(null=True)  # its place in the transaction
    mode = models.TextField()
    result_hash = models.BinaryField()
    standing = models.TextField(default=Standing.WAITING, choices=[(s.value, s.value) for s in Standing])
    kind = models.TextField()
    asked_at = models.DateTimeField(db_default=Now())
    confirmed_at = models.DateTimeField(null=True)
    block_number = models.BigIntegerField(null=True)
    tx_hash = models.BinaryField(null=True)
    reason = models.TextField(default="", blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="confirmations_confirmation_list", fields=("project_id", "id")),
        ]
        indexes: ClassVar = [
            models.Index(
                name="confirmations_waiting",
                fields=("signer", "mode", "contract", "id"),
                condition=Q(standing=Standing.WAITING),
            ),
            models.Index(
                name="confirmations_open",
                fields=("project_id", "standing", "id"),
                condition=~Q(standing=Standing.CONFIRMED),
            ),
            models.Index(name="confirmations_of_tx", fields=("transaction", "position")),
        ]

    def __str__(self) -> str:
        return f"{self.mode} {self.id}"


class Anchor(models.Model):
    """The Merkle tree of an anchoring transaction, its nodes level by level from the leaves to the root."""

    transaction = models.OneToOneField(Transaction, models.PROTECT, primary_key=True)
    root = models.BinaryField(unique=True)
    leaves = models.IntegerField()
    nodes = models.BinaryField()

    def __str__(self) -> str:
        return f"0x{bytes(self.root).hex()}"


class Log(models.Model):
    """An event of a contract, sent by one of our signers. `subject`: a job's id as bytes32, or a root.

    `value`: the result hash, or how many leaves.
    """

    pk = models.CompositePrimaryKey("contract_id", "block_hash", "log_index")
    # Written under the lock of its contract alone; a check of each row would take a third of the time of all else.
    contract = models.ForeignKey(Contract, models.PROTECT, db_index=False, db_constraint=False)
    block_number = models.BigIntegerField()
    block_hash = models.BinaryField()
    log_index = models.IntegerField()
    tx_hash = models.BinaryField()
    event = models.TextField()  # confirmed | anchored
    subject = models.BinaryField()
    value = models.BinaryField()
    source = models.TextField()
    orphaned = models.BooleanField(default=False)
    settled = models.BooleanField(default=False)  # it was final, and its jobs were told

    class Meta:
        indexes: ClassVar = [
            models.Index(
                name="confirmations_log_open", fields=("contract", "block_number"), condition=Q(settled=False)
            ),
            models.Index(name="confirmations_log_block", fields=("contract", "block_number")),
            models.Index(name="confirmations_log_subject", fields=("subject",), condition=Q(orphaned=False)),
        ]

    def __str__(self) -> str:
        return f"block {self.block_number}, log {self.log_index}"


class ScannedRange(models.Model):
    """Blocks of which every log was read, from `first` to `last`. Ranges of a contract do not overlap."""

    pk = models.CompositePrimaryKey("contract_id", "first")
    contract = models.ForeignKey(Contract, models.PROTECT, db_index=False)
    first = models.BigIntegerField()
    last = models.BigIntegerField()
    read_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


class Block(models.Model):
    """The hash of a block that was read, by which one sees whether the chain has changed beneath it."""

    pk = models.CompositePrimaryKey("contract_id", "number")
    contract = models.ForeignKey(Contract, models.PROTECT, db_index=False)
    number = models.BigIntegerField()
    hash = models.BinaryField()

    def __str__(self) -> str:
        return str(self.number)
