"""Routes of reconciliation, under /api/v1/."""

from django.urls import path

from reconciliation import alarm_views, views

app_name = "reconciliation"
_ONE = "reconciliations/<uuid:redrive_id>"
urlpatterns = [
    path("jobs/<uuid:job_id>/evidence", views.EvidenceView.as_view(), name="evidence"),
    path("dead-letters", views.DeadLettersView.as_view(), name="dead_letters"),
    path("dead-letters/<str:fingerprint>", views.DeadLetterView.as_view(), name="dead_letter"),
    path("reconciliations", views.ReconciliationsView.as_view(), name="reconciliations"),
    path(_ONE, views.ReconciliationView.as_view(), name="reconciliation"),
    path(f"{_ONE}/jobs", views.ReconciledJobsView.as_view(), name="reconciled_jobs"),
    path(f"{_ONE}/start", views.StartView.as_view(), name="start"),
    path(f"{_ONE}/pause", views.PauseView.as_view(), name="pause"),
    path(f"{_ONE}/abort", views.AbortView.as_view(), name="abort"),
    path("alarms", alarm_views.AlarmsView.as_view(), name="alarms"),
    path("alarms/<uuid:alarm_id>", alarm_views.AlarmView.as_view(), name="alarm"),
    path("alarms/<uuid:alarm_id>/silence", alarm_views.SilenceView.as_view(), name="silence"),
    path("platform/alarms", alarm_views.PlatformAlarmsView.as_view(), name="platform_alarms"),
    path("platform/alarms/<uuid:platform_alarm_id>", alarm_views.PlatformAlarmView.as_view(), name="platform_alarm"),
    path(
        "platform/alarms/<uuid:platform_alarm_id>/silence",
        alarm_views.PlatformSilenceView.as_view(),
        name="platform_silence",
    ),
]
