"""Alarms over HTTP: those about the caller's project, and, for operators' keys, those about the whole platform."""

import datetime as dt
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from jobplatform.api.database import retry_transient
from jobplatform.api.pages import CursorPage
from jobplatform.api.problems import Problem, answer_with
from jobplatform.api.query import query_text
from jobplatform.api.schema import LIST_PARAMETERS, PROBLEMS, page_of
from jobplatform.api.views import ApiRequest, ApiView
from reconciliation import selectors
from reconciliation.alarm_serializers import ALARM_STATES, AlarmShown, SilenceAlarm, SilenceShown, show_alarm
from reconciliation.errors import AlarmNotFound, InvalidRule
from reconciliation.services import rules
from reconciliation.services.plans import By

answer_with({AlarmNotFound: 404, InvalidRule: 422})

_STATE = OpenApiParameter("state", {"type": "string", "enum": list(ALARM_STATES)}, description="Only these.")


def an_hour() -> dict[str, Any]:
    """A silence of an hour, to begin with."""
    until = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(hours=1)
    return {"until": until.isoformat(), "reason": "The provider is told."}


class _About(ApiView):
    """Whose alarms these are."""

    platform = False

    def whose(self, request: ApiRequest) -> UUID | None:
        """The project, or None: the platform."""
        return None if self.platform else request.caller.project_id

    def listed(self, request: ApiRequest) -> Response:
        """A page of them."""
        rows = selectors.alarms(self.whose(request))
        if (state := query_text(request, "state")) is not None:
            if state not in ALARM_STATES:
                raise Problem(400, "unknown_state", f"A state is one of {', '.join(ALARM_STATES)}.")
            rows = rows.filter(state=state)
        page = CursorPage(request)
        return Response(page.answer(page.of(rows), key=lambda row: (row.id,), show=self.shown))

    def shown(self, row: Any) -> dict[str, Any]:
        """An `AlarmShown`."""
        return show_alarm(row, platform=self.platform)

    def silenced(self, request: ApiRequest, alarm_id: UUID) -> Response:
        """Silence what an alarm is about."""
        whose = self.whose(request)
        selectors.alarm(whose, alarm_id)  # who may not see it, is told nothing of its body
        ask = request.body_as(SilenceAlarm)
        by = By(request.caller.actor, ask.reason)
        retry_transient(lambda: rules.silence_alarm(alarm_id, whose, ask.until, by))
        return Response({"alarm_id": alarm_id, "until": ask.until})


class AlarmsView(_About):
    """Alarms about the project: rules that its figures have broken. Those about the whole platform are the operators'.

    An alarm is pending while its value has not been beyond the threshold for long enough, then it fires; it is resolved
    when values have been mild for long enough. `alarm.fired` and `alarm.resolved` are published.
    """

    name = "Alarms"
    scopes = {"GET": "alarms:read"}
    filters = frozenset({"state"})

    @extend_schema(
        operation_id="alarms_list",
        parameters=[_STATE, *LIST_PARAMETERS],
        responses={200: page_of(AlarmShown), **PROBLEMS},
    )
    def get(self, request: ApiRequest) -> Response:
        """List alarms."""
        return self.listed(request)


class AlarmView(_About):
    """One alarm."""

    name = "Alarm"
    scopes = {"GET": "alarms:read"}

    @extend_schema(operation_id="alarms_get", responses={200: AlarmShown, **PROBLEMS})
    def get(self, request: ApiRequest, alarm_id: UUID) -> Response:
        """Show an alarm."""
        return Response(self.shown(selectors.alarm(self.whose(request), alarm_id)))


class SilenceView(_About):
    """Send no messages of an alarm until a moment: of its rule, about the same subject. POST does it.

    Events are published all the same. What fires still when the silence ends, is told then.
    """

    name = "Silence an alarm"
    scopes = {"POST": "alarms:write"}

    @extend_schema(operation_id="alarms_silence", request=SilenceAlarm, responses={200: SilenceShown, **PROBLEMS})
    def post(self, request: ApiRequest, alarm_id: UUID) -> Response:
        """Silence it."""
        return self.silenced(request, alarm_id)

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """An hour."""
        return an_hour()


class PlatformAlarmsView(_About):
    """Alarms about the whole platform: queues, workers, chain, funds, dead letters of all projects."""

    name = "Alarms of the platform"
    scopes = {"GET": "platform:read"}
    filters = frozenset({"state"})
    platform = True

    @extend_schema(
        operation_id="platform_alarms_list",
        parameters=[_STATE, *LIST_PARAMETERS],
        responses={200: page_of(AlarmShown), **PROBLEMS},
    )
    def get(self, request: ApiRequest) -> Response:
        """List alarms of the platform."""
        return self.listed(request)


class PlatformAlarmView(_About):
    """One alarm about the whole platform."""

    name = "Alarm of the platform"
    scopes = {"GET": "platform:read"}
    platform = True

    @extend_schema(operation_id="platform_alarms_get", responses={200: AlarmShown, **PROBLEMS})
    def get(self, request: ApiRequest, platform_alarm_id: UUID) -> Response:
        """Show an alarm of the platform."""
        return Response(self.shown(selectors.alarm(self.whose(request), platform_alarm_id)))


class PlatformSilenceView(_About):
    """Send no messages of an alarm about the whole platform until a moment. POST does it."""

    name = "Silence an alarm of the platform"
    scopes = {"POST": "platform:write"}
    platform = True

    @extend_schema(
        operation_id="platform_alarms_silence", request=SilenceAlarm, responses={200: SilenceShown, **PROBLEMS}
    )
    def post(self, request: ApiRequest, platform_alarm_id: UUID) -> Response:
        """Silence it."""
        return self.silenced(request, platform_alarm_id)

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """An hour."""
        return an_hour()
