"""One job, followed as it goes. What is sent, and when, is in jobs/live.py and jobplatform/live.py."""

from uuid import UUID

from drf_spectacular.utils import extend_schema

from events import selectors as log
from events.streams import STREAM_PARAMETERS, STREAM_RESPONSES, StreamAnswer, StreamView, last_event_id
from jobplatform.api.views import ApiRequest
from jobs import selectors


class JobStreamView(StreamView):
    """The events of one job as they come, as Server-Sent Events, until the job has ended."""

    name = "Stream of a job"
    scopes = {"GET": "jobs:read"}

    @extend_schema(
        operation_id="jobs_stream",
        parameters=STREAM_PARAMETERS,
        responses=STREAM_RESPONSES,
        description=(
            "The events of one job, from its first on or behind `Last-Event-ID`, as they come. `event: progress` tells"
            " what its handler says of its progress; `event: end` comes last, when the job has ended. Served by the"
            " process `live`: see `links.stream` of a job."
        ),
    )
    def get(self, request: ApiRequest, job_id: UUID) -> StreamAnswer:
        """Follow one job."""
        project_id = request.caller.project_id
        selectors.exists(project_id, job_id)
        after = last_event_id(request) or (0, 0)
        seen = log.last_seq(project_id, job_id, up_to=after) if after != (0, 0) else 0
        return self.answer(request, subject_id=job_id, after=after, seen=seen)
