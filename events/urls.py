"""Routes of the log, under /api/v1/."""

from django.urls import path

from events import views

app_name = "events"
urlpatterns = [
    path("events", views.EventsView.as_view(), name="events"),
    path("job-events", views.JobEventsView.as_view(), name="job-events"),
    path("stream", views.EventStreamView.as_view(), name="stream"),
]
