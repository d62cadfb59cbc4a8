"""Routes of jobs and kinds, under /api/v1/."""

from django.urls import path

from jobs import views

app_name = "jobs"
urlpatterns = [
    path("jobs", views.JobsView.as_view(), name="jobs"),
    path("jobs/batch", views.JobBatchView.as_view(), name="batch"),
    path("jobs/<uuid:job_id>", views.JobView.as_view(), name="job"),
    path("jobs/<uuid:job_id>/events", views.JobEventsView.as_view(), name="job-events"),
    path("jobs/<uuid:job_id>/attempts", views.JobAttemptsView.as_view(), name="job-attempts"),
    path("jobs/<uuid:job_id>/explain", views.JobExplainView.as_view(), name="job-explain"),
    path("jobs/<uuid:job_id>/cancel", views.JobCancelView.as_view(), name="job-cancel"),
    path("jobs/<uuid:job_id>/retry", views.JobRetryView.as_view(), name="job-retry"),
    path("kinds", views.KindsView.as_view(), name="kinds"),
    path("kinds/<str:kind>", views.KindView.as_view(), name="kind"),
]
