"""Jobs over HTTP: parse, call, answer. The project is that of the caller's credential."""

import re
from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from events.serializers import EventShown
from events.views import events_of
from jobplatform.api import problems
from jobplatform.api.database import retry_transient
from jobplatform.api.idempotency import idempotent
from jobplatform.api.pages import CursorPage
from jobplatform.api.problems import Problem
from jobplatform.api.query import query_text, query_time, query_uuid
from jobplatform.api.schema import LIST_PARAMETERS, PROBLEMS, IdempotencyHeader, page_of
from jobplatform.api.views import ApiRequest, ApiView, Example
from jobs import interventions, refusals, registry, selectors, services, standing, tuning
from jobs.errors import JobsError, UnknownKind
from jobs.refusals import Refused
from jobs.selectors import SCAN_ROWS, JobFilter
from jobs.serializers import (
    AttemptShown,
    CancelJob,
    CreateJob,
    ExplainShown,
    JobShown,
    ResumeJob,
    RetryJob,
    example_of,
    explain,
    schema_of,
    show_attempt,
    show_job,
    show_new,
)
from jobs.states import Status
from jobs.waiting import LONGEST_SECONDS, waiting_room

MOST_METADATA_FILTERS = 5

_SECONDS = re.compile(r"\d{1,2}(\.\d{1,3})?")
# What says that somebody may not, or must wait, is no refusal of the job itself.
_NOT_REFUSALS = frozenset({401, 409, 503})


def note_refusal(request: ApiRequest, error: Problem | JobsError, kind: str = "") -> None:
    """Count the refusal of a creation in the log."""
    problem = problems.of(error)
    if problem is not None and problem.status not in _NOT_REFUSALS:
        refusals.note(request.caller.project_id, {problem.code: Refused(kind)})


_FILTERS = [
    OpenApiParameter("kind", OpenApiTypes.STR, description="Only jobs of this kind."),
    OpenApiParameter("status", {"type": "string", "enum": [s.value for s in Status]}, description="Only these."),
    OpenApiParameter("stage", OpenApiTypes.STR, description="Only jobs in this stage."),
    OpenApiParameter("lane", OpenApiTypes.STR, description="Only jobs of this lane."),
    OpenApiParameter("batch_id", OpenApiTypes.UUID, description="Only jobs of this batch."),
    OpenApiParameter("error_code", OpenApiTypes.STR, description="Only jobs whose last error has this code."),
    OpenApiParameter("created_after", OpenApiTypes.DATETIME, description="Only jobs created from this time on."),
    OpenApiParameter("created_before", OpenApiTypes.DATETIME, description="Only jobs created before this time."),
    *LIST_PARAMETERS,
]

_LIST_DESCRIPTION = f"""The project's jobs, newest first.

`metadata.<key>=<value>` (up to {MOST_METADATA_FILTERS} of them) asks for jobs whose metadata has this text under the
key.

A page looks at {SCAN_ROWS:,} jobs at most. Where a filter matches few of them, a page may hold fewer jobs than `limit`,
or none, while `next` leads on. The list is at its end when `next` is null. The statuses parked, pending_approval,
confirming, blocked, failed, rejected and cancelled have an index of their own and need no such patience.
"""


class JobsView(ApiView):
    """Jobs of the project.

    GET lists them, newest first. POST creates one; choose a kind below to see an example of its payload.
    """

    name = "Jobs"
    scopes = {"GET": "jobs:read", "POST": "jobs:write"}
    filters = frozenset(
        {"kind", "status", "stage", "lane", "batch_id", "error_code", "created_after", "created_before", "metadata."}
    )

    @extend_schema(
        operation_id="jobs_list",
        parameters=_FILTERS,
        responses={200: page_of(JobShown), **PROBLEMS},
        description=_LIST_DESCRIPTION,
    )
    def get(self, request: ApiRequest) -> Response:
        """List jobs."""
        page = CursorPage(request)
        scan = selectors.jobs(
            request.caller.project_id,
            _filter(request),
            edge=page.after[0] if page.after else None,
            descending=page.descending,
            limit=page.fetch,
        )
        stopped_at = None if scan.stopped_at is None else (scan.stopped_at,)
        rows = page.ordered(scan.rows)
        return Response(page.answer(rows, key=lambda row: (row.id,), show=show_job, stopped_at=stopped_at))

    @extend_schema(
        operation_id="jobs_create",
        parameters=[IdempotencyHeader],
        request=CreateJob,
        responses={202: JobShown, 200: JobShown, **PROBLEMS},
        description=(
            "Create a job. 202: it was accepted, durably, and will end or stand blocked with a reason. 200: its kind"
            " allows one such job at a time, and this is the one that there is."
        ),
    )
    def post(self, request: ApiRequest) -> Response:
        """Create a job."""
        kind = ""
        try:
            ask = request.body_as(CreateJob)
            kind = ask.kind
            return idempotent(
                request,
                project_id=request.caller.project_id,
                route="POST /api/v1/jobs",
                fn=lambda: retry_transient(lambda: _create(request, ask)),
            )
        except (Problem, JobsError) as error:
            note_refusal(request, error, kind)
            raise

    def get_examples(self, request: ApiRequest) -> list[Example]:
        """A job of each public kind."""
        return [
            Example(kind.name, {"kind": kind.name, "payload": example_of(kind) or {}}, schema_of(kind))
            for kind in registry.kinds()
            if kind.public
        ]


def public_kind(name: str) -> registry.Kind[Any]:
    """The kind, if jobs of it may be created over HTTP.

    Raises:
        UnknownKind: they may not, or there is none.
    """
    tuning.refresh()
    kind = registry.get(name)
    if not kind.public:
        message = "Jobs of this kind are not created here. GET /api/v1/kinds lists those that are."
        raise UnknownKind(message, kind=name)
    return kind


def _create(request: ApiRequest, ask: CreateJob) -> Response:
    """One statement, which is its own transaction unless an Idempotency-Key wants a larger one."""
    if public_kind(ask.kind).unique is not None:
        return _create_unique(request, ask)
    wanted = ask.request()
    row = services.prepare(request.caller.project_id, wanted)
    services.ask_gates(row.project_id, [wanted])
    (submitted,) = services.insert([row])
    shown = show_new(row, ask, submitted)
    return Response(shown, status=202, headers={"Location": shown["links"]["self"]})


def _create_unique(request: ApiRequest, ask: CreateJob) -> Response:
    project_id = request.caller.project_id
    (submitted,) = services.submit_many(project_id=project_id, requests=[ask.request()])
    shown = show_job(selectors.job(project_id, submitted.id))
    status = 200 if submitted.existing else 202
    return Response(shown, status=status, headers={"Location": shown["links"]["self"]})


def _filter(request: ApiRequest) -> JobFilter:
    status = query_text(request, "status")
    if status and status not in list(Status):
        raise Problem(400, "unknown_status", f"A status is one of {', '.join(Status)}.")
    metadata = {
        name.partition(".")[2]: str(text)
        for name, text in request.query_params.items()
        if name.startswith("metadata.") and name != "metadata." and text
    }
    if len(metadata) > MOST_METADATA_FILTERS:
        raise Problem(400, "too_many_filters", f"At most {MOST_METADATA_FILTERS} keys of metadata can be asked for.")
    return JobFilter(
        kind=query_text(request, "kind"),
        status=Status(status) if status else None,
        stage=query_text(request, "stage"),
        lane=query_text(request, "lane"),
        batch_id=query_uuid(request, "batch_id"),
        error_code=query_text(request, "error_code"),
        created_after=query_time(request, "created_after"),
        created_before=query_time(request, "created_before"),
        metadata=metadata,
    )


# ---------------------------------------------------------------------------------------------- one job


class JobView(ApiView):
    """One job.

    `?wait=25` answers when the job has ended or needs a person, after so many seconds at the latest.
    """

    name = "Job"
    scopes = {"GET": "jobs:read"}
    filters = frozenset({"wait"})

    @extend_schema(
        operation_id="jobs_get",
        parameters=[
            OpenApiParameter(
                "wait",
                {"type": "number", "minimum": 0, "maximum": LONGEST_SECONDS},
                description=(
                    "Seconds to wait until the job has ended or needs a person. The answer is the job as it stands"
                    " then; with too many waiting already, as it stands now."
                ),
            )
        ],
        responses={200: JobShown, **PROBLEMS},
    )
    def get(self, request: ApiRequest, job_id: UUID) -> Response:
        """Show one job."""
        seconds = _seconds(request)
        project_id = request.caller.project_id
        tuning.refresh()
        row = selectors.job(project_id, job_id)
        if seconds and row.status not in selectors.SETTLED:
            row = waiting_room.wait(job_id, project_id, seconds) or selectors.job(project_id, job_id)
        return Response(show_job(row))


def _seconds(request: ApiRequest) -> float:
    text = request.query_params.get("wait")
    if not text:
        return 0
    if not _SECONDS.fullmatch(text) or float(text) > LONGEST_SECONDS:
        raise Problem(400, "invalid_wait", f"wait is a number of seconds, at most {LONGEST_SECONDS:g}.")
    return float(text)


class JobEventsView(ApiView):
    """What happened to one job, oldest first."""

    name = "Events of a job"
    scopes = {"GET": "jobs:read"}

    @extend_schema(
        operation_id="jobs_events", parameters=LIST_PARAMETERS, responses={200: page_of(EventShown), **PROBLEMS}
    )
    def get(self, request: ApiRequest, job_id: UUID) -> Response:
        """List the events of a job, oldest first."""
        selectors.exists(request.caller.project_id, job_id)
        return events_of(request, job_id)


class JobAttemptsView(ApiView):
    """The finished attempts of one job, oldest first, with what they logged."""

    name = "Attempts of a job"
    scopes = {"GET": "jobs:read"}

    @extend_schema(
        operation_id="jobs_attempts", parameters=LIST_PARAMETERS, responses={200: page_of(AttemptShown), **PROBLEMS}
    )
    def get(self, request: ApiRequest, job_id: UUID) -> Response:
        """List the finished attempts of a job, oldest first."""
        project_id = request.caller.project_id
        selectors.exists(project_id, job_id)
        page = CursorPage(request, keys=("number",), newest_first=False)
        found = selectors.attempts(
            project_id,
            job_id,
            after=page.after[0] if page.after else None,
            forward=not page.descending,
            limit=page.fetch,
        )
        stopped_at = None if found.stopped_at is None else (found.stopped_at,)
        rows = page.ordered(found.rows)
        return Response(page.answer(rows, key=lambda row: (row.number,), show=show_attempt, stopped_at=stopped_at))


class JobExplainView(ApiView):
    """Why a job stands where it stands."""

    name = "Explain a job"
    scopes = {"GET": "jobs:read"}

    @extend_schema(operation_id="jobs_explain", responses={200: ExplainShown, **PROBLEMS})
    def get(self, request: ApiRequest, job_id: UUID) -> Response:
        """Explain why a job stands where it stands."""
        tuning.refresh()
        return Response(explain(standing.of(request.caller.project_id, job_id)))


class JobCancelView(ApiView):
    """Stop a job: at once where it waits; where it runs, its handler is told.

    POST does it. The answer shows `cancel_requested` while the handler has not ended: it may stop (`job.cancelled`), or
    end what it does. It does not run again. A job that has ended otherwise cannot be stopped.
    """

    name = "Cancel a job"
    scopes = {"POST": "jobs:write"}

    @extend_schema(operation_id="jobs_cancel", request=CancelJob, responses={200: JobShown, **PROBLEMS})
    def post(self, request: ApiRequest, job_id: UUID) -> Response:
        """Stop a job. Stopping a stopped job changes nothing."""
        ask = request.body_as(CancelJob, optional=True)
        caller = request.caller
        retry_transient(
            lambda: services.cancel(project_id=caller.project_id, job_id=job_id, actor=caller.actor, reason=ask.reason)
        )
        return Response(show_job(selectors.job(caller.project_id, job_id)))

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """A reason."""
        return {"reason": "The order was withdrawn."}


class JobResumeView(ApiView):
    """Let a blocked job go on, with its attempts counted on, or a parked one before its time.

    POST does it. What was asked about a blocked job is resolved by it; its next failure blocks it again. The handler of
    a parked one finds the `data` of the request in `job.woken_by`.
    """

    name = "Resume a job"
    scopes = {"POST": "jobs:write"}

    @extend_schema(operation_id="jobs_resume", request=ResumeJob, responses={200: JobShown, **PROBLEMS})
    def post(self, request: ApiRequest, job_id: UUID) -> Response:
        """Queue a blocked or parked job once more."""
        ask = request.body_as(ResumeJob, optional=True)
        caller = request.caller
        retry_transient(
            lambda: interventions.resume(
                project_id=caller.project_id, job_id=job_id, actor=caller.actor, reason=ask.reason, data=ask.data
            )
        )
        return Response(show_job(selectors.job(caller.project_id, job_id)))

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """A reason."""
        return {"reason": "The cause was repaired."}


class JobRetryView(ApiView):
    """Queue a job once more that has failed, was rejected or cancelled, or stands blocked.

    POST does it. Its attempts are counted anew; another payload may be given.
    """

    name = "Retry a job"
    scopes = {"POST": "jobs:write"}

    @extend_schema(operation_id="jobs_retry", request=RetryJob, responses={200: JobShown, **PROBLEMS})
    def post(self, request: ApiRequest, job_id: UUID) -> Response:
        """Queue an ended or blocked job once more."""
        ask = request.body_as(RetryJob, optional=True)
        caller = request.caller
        retry_transient(
            lambda: services.retry(
                project_id=caller.project_id,
                job_id=job_id,
                actor=caller.actor,
                reason=ask.reason,
                payload=ask.payload,
            )
        )
        return Response(show_job(selectors.job(caller.project_id, job_id)))

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """A reason. To repair the payload, add `payload`."""
        return {"reason": "The cause was repaired."}
