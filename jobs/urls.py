"""Routes of jobs and kinds, under /api/v1/."""

from django.urls import path

from jobs.views import jobs, kinds

app_name = "jobs"
urlpatterns = [
    path("jobs", jobs.JobsView.as_view(), name="jobs"),
    path("jobs/batch", jobs.JobBatchView.as_view(), name="batch"),
    path("jobs/<uuid:job_id>", jobs.JobView.as_view(), name="job"),
    path("jobs/<uuid:job_id>/events", jobs.JobEventsView.as_view(), name="job-events"),
    path("jobs/<uuid:job_id>/attempts", jobs.JobAttemptsView.as_view(), name="job-attempts"),
    path("jobs/<uuid:job_id>/explain", jobs.JobExplainView.as_view(), name="job-explain"),
    path("jobs/<uuid:job_id>/cancel", jobs.JobCancelView.as_view(), name="job-cancel"),
    path("jobs/<uuid:job_id>/retry", jobs.JobRetryView.as_view(), name="job-retry"),
    path("kinds", kinds.KindsView.as_view(), name="kinds"),
    path("kinds/<str:kind>", kinds.KindView.as_view(), name="kind"),
]
