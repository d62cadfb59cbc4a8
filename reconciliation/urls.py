"""Routes of reconciliation, under /api/v1/."""

from django.urls import path

from reconciliation import views

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
]
