"""Routes of jobs and kinds, under /api/v1/."""

from django.urls import path

from jobs.views import interventions, jobs, kinds, lanes, pauses

app_name = "jobs"
urlpatterns = [
    path("jobs", jobs.JobsView.as_view(), name="jobs"),
    path("jobs/batch", jobs.JobBatchView.as_view(), name="batch"),
    path("jobs/<uuid:job_id>", jobs.JobView.as_view(), name="job"),
    path("jobs/<uuid:job_id>/events", jobs.JobEventsView.as_view(), name="job-events"),
    path("jobs/<uuid:job_id>/attempts", jobs.JobAttemptsView.as_view(), name="job-attempts"),
    path("jobs/<uuid:job_id>/explain", jobs.JobExplainView.as_view(), name="job-explain"),
    path("jobs/<uuid:job_id>/cancel", jobs.JobCancelView.as_view(), name="job-cancel"),
    path("jobs/<uuid:job_id>/resume", jobs.JobResumeView.as_view(), name="job-resume"),
    path("jobs/<uuid:job_id>/retry", jobs.JobRetryView.as_view(), name="job-retry"),
    path("lanes", lanes.LanesView.as_view(), name="lanes"),
    path("interventions", interventions.InterventionsView.as_view(), name="interventions"),
    path("interventions/<uuid:intervention_id>", interventions.InterventionView.as_view(), name="intervention"),
    path(
        "interventions/<uuid:intervention_id>/preview",
        interventions.InterventionPreviewView.as_view(),
        name="intervention-preview",
    ),
    path(
        "interventions/<uuid:intervention_id>/resolve",
        interventions.InterventionResolveView.as_view(),
        name="intervention-resolve",
    ),
    path("pauses", pauses.PausesView.as_view(), name="pauses"),
    path("pauses/<uuid:pause_id>/end", pauses.PauseEndView.as_view(), name="pause-end"),
    path("kinds", kinds.KindsView.as_view(), name="kinds"),
    path("kinds/<str:kind>", kinds.KindView.as_view(), name="kind"),
]
