"""Routes of jobs and kinds, under /api/v1/."""

from django.urls import path

from jobs.views import batches, bulk, inbox, interventions, jobs, kinds, lanes, limits, pauses, schedules, streams

app_name = "jobs"
urlpatterns = [
    path("jobs", jobs.JobsView.as_view(), name="jobs"),
    path("jobs/bulk", bulk.BulkActsView.as_view(), name="bulk"),
    path("jobs/bulk/<uuid:act_id>", bulk.BulkActView.as_view(), name="bulk-act"),
    path("jobs/bulk/<uuid:act_id>/abort", bulk.BulkActAbortView.as_view(), name="bulk-abort"),
    path("batches", batches.BatchesView.as_view(), name="batches"),
    path("batches/<uuid:batch_id>", batches.BatchView.as_view(), name="batch-standing"),
    path("batches/<uuid:batch_id>/cancel", batches.BatchCancelView.as_view(), name="batch-cancel"),
    path("batches/<uuid:batch_id>/retry", batches.BatchRetryView.as_view(), name="batch-retry"),
    path("jobs/batch", batches.JobBatchView.as_view(), name="batch"),
    path("jobs/<uuid:job_id>", jobs.JobView.as_view(), name="job"),
    path("jobs/<uuid:job_id>/events", jobs.JobEventsView.as_view(), name="job-events"),
    path("jobs/<uuid:job_id>/attempts", jobs.JobAttemptsView.as_view(), name="job-attempts"),
    path("jobs/<uuid:job_id>/explain", jobs.JobExplainView.as_view(), name="job-explain"),
    path("jobs/<uuid:job_id>/stream", streams.JobStreamView.as_view(), name="job-stream"),
    path("jobs/<uuid:job_id>/cancel", jobs.JobCancelView.as_view(), name="job-cancel"),
    path("jobs/<uuid:job_id>/resume", jobs.JobResumeView.as_view(), name="job-resume"),
    path("jobs/<uuid:job_id>/retry", jobs.JobRetryView.as_view(), name="job-retry"),
    path("lanes", lanes.LanesView.as_view(), name="lanes"),
    path("limits", limits.LimitsView.as_view(), name="limits"),
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
    path(
        "interventions/<uuid:intervention_id>/assign",
        inbox.InterventionAssignView.as_view(),
        name="intervention-assign",
    ),
    path(
        "interventions/<uuid:intervention_id>/comments",
        inbox.InterventionCommentsView.as_view(),
        name="intervention-comments",
    ),
    path(
        "interventions/<uuid:intervention_id>/approve",
        inbox.InterventionApproveView.as_view(),
        name="intervention-approve",
    ),
    path(
        "interventions/<uuid:intervention_id>/decline",
        inbox.InterventionDeclineView.as_view(),
        name="intervention-decline",
    ),
    path("pauses", pauses.PausesView.as_view(), name="pauses"),
    path("pauses/<uuid:pause_id>/end", pauses.PauseEndView.as_view(), name="pause-end"),
    path("schedules", schedules.SchedulesView.as_view(), name="schedules"),
    path("schedules/<uuid:schedule_id>", schedules.ScheduleView.as_view(), name="schedule"),
    path("schedules/<uuid:schedule_id>/run", schedules.ScheduleRunView.as_view(), name="schedule-run"),
    path("schedules/<uuid:schedule_id>/pause", schedules.SchedulePauseView.as_view(), name="schedule-pause"),
    path("schedules/<uuid:schedule_id>/resume", schedules.ScheduleResumeView.as_view(), name="schedule-resume"),
    path("schedules/<uuid:schedule_id>/backfill", schedules.ScheduleBackfillView.as_view(), name="schedule-backfill"),
    path("kinds", kinds.KindsView.as_view(), name="kinds"),
    path("kinds/<str:kind>", kinds.KindView.as_view(), name="kind"),
]
