"""The kinds of this app: a message's way into object storage, and the comparison of what is there with the messages."""

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict, Field

from ingestion import gateway, selectors, services
from ingestion.errors import BodyCorrupt, MessageNotFound, ObjectConflict, PermanentError
from ingestion.gateway import StoredObject
from ingestion.models import Message
from ingestion.selectors import Claim
from ingestion.states import KIND
from jobs import Batch, Done, Reject, Retry, Run, exponential, handler

logger = structlog.get_logger(__name__)


class ProcessMessage(BaseModel):
    """Which message: what its sender calls it. The row is found by the job's own id."""

    model_config = ConfigDict(extra="forbid")

    company_id: UUID
    message_id: UUID


@handler(
    KIND,
    payload=ProcessMessage,
    retry=Retry(max_attempts=3, backoff=exponential(1, factor=5, cap=60)),
    errors={PermanentError: Reject, MessageNotFound: Reject},
    timeout=180,
    confirm="never",
    batch=Batch(1),
    public=False,
    example={
        "company_id": "0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0a",
        "message_id": "0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0b",
    },
)
def process_message(job: Run[ProcessMessage]) -> Done:
    """Write the original of a message to object storage, byte for byte.

    Doing it twice is as good as once. A known permanent error is written on the message and ends the job; any other is
    retried.
    """
    message = selectors.with_body(job.id, project_id=job.project_id)
    try:
        check(message)
        gateway.put(message.object_key, bytes(message.body))
    except PermanentError as error:
        services.note_error(project_id=job.project_id, id_=message.id, error=error)
        raise
    return Done(
        {"key": message.object_key, "bytes": message.size, "sha256": bytes(message.body_sha256).hex()},
        within=lambda: services.mark_stored(project_id=job.project_id, id_=message.id),
    )


def check(message: Message) -> None:
    """Make sure that the kept body is the one that was received. Raises `BodyCorrupt`."""
    if hashlib.sha256(message.body).digest() != bytes(message.body_sha256):
        raise BodyCorrupt


# ------------------------------------------------------------------------------------------------ reconciliation
class ReconcileMessages(BaseModel):
    """How many keys one run compares, and what it leaves alone.

    `grace_seconds`: neither objects nor messages younger than this are judged. `most_orphans`: where a run finds more
    objects without a message than this, and they are more than half of its objects, none is moved: rather than so many
    lost messages, it is the wrong storage or the wrong database.
    """

    model_config = ConfigDict(extra="forbid")

    size: int = Field(5000, ge=1, le=20_000)
    grace_seconds: float = Field(600, ge=0)
    most_orphans: int = Field(20, ge=0)


@dataclass(slots=True)
class Findings:
    """What a run found and did: the output of its job."""

    compared: int = 0  # keys
    restored: int = 0  # objects that were missing and are there again
    set_aside: int = 0  # objects without a message, moved to orphaned/
    left: int = 0  # objects without a message that were left: too many of them
    differing: int = 0  # objects that are not as long as their message
    lost: int = 0  # objects that are missing and cannot be restored: the kept body is corrupt
    leftovers: int = 0  # drafts of interrupted writes, removed
    complete: bool = False  # whether the run came to the end of a pass


@dataclass(frozen=True, slots=True)
class Slice:
    """Objects and messages of one range of keys. `end`: the last key of the range, "" behind all."""

    objects: Mapping[str, StoredObject]
    claims: Mapping[str, Claim]
    end: str


@handler(
    "message.reconcile",
    payload=ReconcileMessages,
    retry=Retry(max_attempts=3, backoff=exponential(10, factor=3, cap=60)),
    timeout=900,
    confirm="never",
    batch=Batch(1),
    public=False,
    example={},
)
def reconcile_messages(job: Run[ReconcileMessages]) -> Done:
    """Compare object storage with the messages, a bounded range of keys in each run, and repair what differs.

    A message whose object is missing is written again, from the kept body. An object without a message is moved to
    `orphaned/`, never deleted. An object that differs from its message is left as it is and reported. Every repair
    leaves an audit record, and what was found is the job's output, so `job.processed` publishes it.
    """
    ask = job.payload
    now = selectors.platform_now()
    cut = now - dt.timedelta(seconds=ask.grace_seconds)
    after = selectors.compared_up_to()
    part = read_slice(after, ask.size)
    findings = Findings(compared=len(part.objects.keys() | part.claims.keys()), complete=not part.end)
    findings.leftovers = gateway.remove_leftovers(before=cut)
    _restore_missing(part, cut, findings)
    _move_orphans(part, cut, now, ask.most_orphans, findings)
    return Done(asdict(findings), within=lambda: services.move_comparison(after=after, moved_to=part.end))


def read_slice(after: str, size: int) -> Slice:
    """The next range of keys behind `after`: at most `size` objects and as many messages.

    Objects are read first: a message comes before its object, so none of these objects can be waiting for its message.
    """
    listing = gateway.listing(after=after, limit=size)
    claims = selectors.claims(after=after, limit=size)
    ends = [listing.objects[-1].key] if listing.more else []
    ends += [claims[-1].object_key] if len(claims) == size else []
    end = min(ends, default="")
    return Slice(
        {found.key: found for found in listing.objects if not end or found.key <= end},
        # Where projects share a key, the claim of one that has stored it is the last, and stays.
        {
            claim.object_key: claim
            for claim in sorted(claims, key=lambda claim: claim.stored_at is not None)
            if not end or claim.object_key <= end
        },
        end,
    )


def _restore_missing(part: Slice, cut: dt.datetime, findings: Findings) -> None:
    for key, claim in part.claims.items():
        if claim.stored_at is None or claim.stored_at > cut:
            continue
        found = part.objects.get(key)
        if found is None:
            _restore(claim, findings)
        elif found.size != claim.size:
            _report_differing(key, findings)


def _restore(claim: Claim, findings: Findings) -> None:
    message = selectors.with_body(claim.id, project_id=claim.project_id)
    try:
        check(message)
        written = gateway.put(claim.object_key, bytes(message.body))
    except BodyCorrupt:
        findings.lost += 1
        logger.error("original lost", handler="message.reconcile", action="restore", details=claim.object_key)
    except ObjectConflict:
        _report_differing(claim.object_key, findings)
    else:
        if written:
            findings.restored += 1
            services.record_restored(project_id=claim.project_id, id_=claim.id, key=claim.object_key)


def _report_differing(key: str, findings: Findings) -> None:
    findings.differing += 1
    logger.error("object differs from its message", handler="message.reconcile", action="compare", details=key)


def _move_orphans(part: Slice, cut: dt.datetime, now: dt.datetime, most: int, findings: Findings) -> None:
    orphans = [found for key, found in part.objects.items() if key not in part.claims and found.modified_at <= cut]
    if len(orphans) > most and 2 * len(orphans) > len(part.objects):
        findings.left += len(orphans)
        details = f"{len(orphans)} of {len(part.objects)} objects from {orphans[0].key} on belong to no message"
        logger.error("too many orphans, none moved", handler="message.reconcile", action="compare", details=details)
        return
    for orphan in orphans:
        aside = gateway.copy_aside(orphan.key, now=now)
        if selectors.claimed([orphan.key]):  # its message has come meanwhile
            gateway.delete(aside)
            continue
        services.record_set_aside(key=orphan.key, moved_to=aside, size=orphan.size)
        gateway.delete(orphan.key)
        findings.set_aside += 1
