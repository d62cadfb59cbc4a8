"""Batches over HTTP: many jobs with one request, how far they are, and acts on all of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from uuid_utils.compat import uuid7

from jobplatform.api import problems, strict_json
from jobplatform.api.database import retry_transient
from jobplatform.api.idempotency import idempotent
from jobplatform.api.pages import CursorPage
from jobplatform.api.problems import FieldError, Problem
from jobplatform.api.schema import LIST_PARAMETERS, PROBLEMS, IdempotencyHeader, page_of
from jobplatform.api.validation import validated
from jobplatform.api.views import ApiRequest, ApiView, Example
from jobs import batches, bulk, extensions, refusals, registry, selectors, services
from jobs.errors import InvalidOption, JobsError, SubmitRefused
from jobs.refusals import Refused
from jobs.serializers import MOST_IN_A_BATCH, BatchShown, CreateJob, CreateJobs, Envelope, example_of, schema_of
from jobs.serializers.bulk import (
    ActOnBatch,
    BatchRow,
    BatchStanding,
    BulkActShown,
    show_batch,
    show_batch_row,
    show_bulk_act,
)
from jobs.store import NewJob
from jobs.views.jobs import note_refusal, public_kind

LARGEST_BATCH = 16 * 1024 * 1024  # bytes
MOST_ERRORS_OF_ITEM = 10


class JobBatchView(ApiView):
    """Create up to 1,000 jobs with one request.

    The answer says of each, in order, its id or why it was refused. Those that fit are created in one transaction.
    """

    name = "Batch of jobs"
    scopes = {"POST": "jobs:write"}
    max_body_bytes = LARGEST_BATCH

    @extend_schema(
        operation_id="jobs_create_batch",
        parameters=[IdempotencyHeader],
        request=CreateJobs,
        responses={202: BatchShown, **PROBLEMS},
        description=(
            f"Create up to {MOST_IN_A_BATCH:,} jobs. Each is looked at by itself: the answer holds, in order, the `id`"
            " of what was created or the `error` of what was refused. All that fit are created in one transaction."
            f" The body may hold {strict_json.MOST_VALUES:,} values in all, else it is refused: 400 `too_many_values`."
        ),
    )
    def post(self, request: ApiRequest) -> Response:
        """Create many jobs."""
        try:
            return _create_batch(request)
        except (Problem, JobsError) as error:
            note_refusal(request, error)
            raise

    def get_examples(self, request: ApiRequest) -> list[Example]:
        """Two jobs of each public kind."""
        return [
            Example(kind.name, {"jobs": [{"kind": kind.name, "payload": example_of(kind) or {}}] * 2}, schema_of(kind))
            for kind in registry.kinds()
            if kind.public
        ]


def _create_batch(request: ApiRequest) -> Response:
    project_id = request.caller.project_id
    envelope = request.body_as(Envelope)
    follow = envelope.follow.request() if envelope.follow else None
    if follow is not None:
        public_kind(follow.kind)
        services.prepare(project_id, follow)  # refused before anything is created
        services.ask_gates(project_id, [follow])
    batch_id = uuid7()
    items = [_prepared(project_id, item, batch_id, follow is not None) for item in envelope.jobs]
    refused: list[Problem] = []

    def create() -> Response:
        refused[:] = [item for item in items if isinstance(item, Problem)]
        jobs = [item for item in items if not isinstance(item, Problem)]
        closed = _closed_gates(project_id, [ask for ask, _ in jobs])
        with transaction.atomic():
            made = _insert(project_id, [item for item in jobs if item[0].kind not in closed], batch_id)
            if follow is not None and not made:
                message = "No job can be created, so nothing can follow. Without `follow` the answer says why of each."
                raise InvalidOption(message, code="nothing_to_follow", field="/jobs")
            batches.enter(
                batch_id, project_id, len(made), name=envelope.name, follow=follow, follow_when=envelope.follow_when
            )
            ids = iter(made)
        shown: list[dict[str, Any]] = []
        for item in items:
            problem = item if isinstance(item, Problem) else closed.get(item[0].kind)
            shown.append({"id": next(ids)} if problem is None else {"error": _item_error(problem)})
        refused.extend(closed[ask.kind] for ask, _ in jobs if ask.kind in closed)
        return Response({"batch_id": batch_id, "jobs": shown}, status=202)

    response = idempotent(
        request, project_id=project_id, route="POST /api/v1/jobs/batch", fn=lambda: retry_transient(create)
    )
    if refused:
        counts = Counter(problem.code for problem in refused)
        refusals.note(project_id, {code: Refused("", number) for code, number in counts.items()})
    return response


Prepared = tuple[CreateJob, NewJob]


def _prepared(project_id: UUID, item: Any, batch_id: UUID, followed: bool) -> Prepared | Problem:  # noqa: FBT001 - ours alone
    try:
        ask = validated(CreateJob, item)
        public_kind(ask.kind)
        if followed:
            batches.check_countable(ask.kind)
        return ask, services.prepare(project_id, replace(ask.request(), batch_id=batch_id))
    except (Problem, JobsError) as error:
        problem = problems.of(error)
        if problem is None:
            raise
        return problem


def _closed_gates(project_id: UUID, asks: Sequence[CreateJob]) -> dict[str, Problem]:
    """Kinds that a gate refuses."""
    if not len(extensions.submit_gates):
        return {}
    closed = {}
    for kind in {ask.kind for ask in asks}:
        try:
            services.ask_gates(project_id, [ask.request() for ask in asks if ask.kind == kind])
        except SubmitRefused as error:
            problem = problems.of(error)
            if problem is None:
                raise
            closed[kind] = problem
    return closed


def _insert(project_id: UUID, jobs: Sequence[Prepared], batch_id: UUID) -> list[UUID]:
    if not jobs:
        return []
    if any(registry.get(ask.kind).unique for ask, _ in jobs):
        requests = [replace(ask.request(), batch_id=batch_id) for ask, _ in jobs]
        done = services.submit_many(project_id=project_id, requests=requests)
    else:
        done = services.insert([row for _, row in jobs])
    return [submitted.id for submitted in done]


def _item_error(problem: Problem) -> dict[str, Any]:
    errors: list[FieldError] = problem.errors[:MOST_ERRORS_OF_ITEM]
    return {"code": problem.code, "message": problem.detail, "errors": errors}


class BatchesView(ApiView):
    """Batches of the project, newest first."""

    name = "Batches"
    scopes = {"GET": "jobs:read"}

    @extend_schema(
        operation_id="batches_list", parameters=LIST_PARAMETERS, responses={200: page_of(BatchRow), **PROBLEMS}
    )
    def get(self, request: ApiRequest) -> Response:
        """List batches."""
        page = CursorPage(request)
        rows = page.of(selectors.batches(request.caller.project_id))
        return Response(page.answer(rows, key=lambda row: (row.id,), show=show_batch_row))


class BatchView(ApiView):
    """One batch: how many of its jobs have which status, and the job that follows."""

    name = "Batch"
    scopes = {"GET": "jobs:read"}

    @extend_schema(operation_id="batches_get", responses={200: BatchStanding, **PROBLEMS})
    def get(self, request: ApiRequest, batch_id: UUID) -> Response:
        """Show a batch."""
        batch = batches.get(request.caller.project_id, batch_id)
        return Response(show_batch(batch, batches.standing(batch)))


class BatchActView(ApiView):
    """Cancel what has not ended of a batch, or retry what has not ended well."""

    name = "Act on a batch"
    scopes = {"POST": "jobs:write"}
    verb = ""

    @extend_schema(request=ActOnBatch, responses={202: BulkActShown, **PROBLEMS})
    def post(self, request: ApiRequest, batch_id: UUID) -> Response:
        """Store the act; its address says how far it is."""
        caller = request.caller
        batches.get(caller.project_id, batch_id)
        ask = request.body_as(ActOnBatch)
        act = retry_transient(
            lambda: bulk.begin(
                project_id=caller.project_id,
                verb=self.verb,
                stored={"batch_id": str(batch_id)},
                actor=caller.actor,
                reason=ask.reason,
            )
        )
        act.refresh_from_db()
        shown = show_bulk_act(act)
        return Response(shown, status=202, headers={"Location": shown["links"]["self"]})

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """A reason."""
        return {"reason": "The import was repaired."}


class BatchCancelView(BatchActView):
    """Cancel what has not ended of a batch."""

    name = "Cancel a batch"
    verb = "cancel"


class BatchRetryView(BatchActView):
    """Retry what of a batch has not ended well."""

    name = "Retry a batch"
    verb = "retry"
