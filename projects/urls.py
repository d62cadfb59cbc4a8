"""Routes of projects and keys, under /api/v1/."""

from django.urls import path

from projects import views

app_name = "projects"
urlpatterns = [
    path("projects", views.ProjectsView.as_view(), name="projects"),
    path("projects/<uuid:project_id>", views.ProjectView.as_view(), name="project"),
    path("keys", views.KeysView.as_view(), name="keys"),
    path("keys/<slug:key_id>", views.KeyView.as_view(), name="key"),
    path("keys/<slug:key_id>/revoke", views.RevokeKeyView.as_view(), name="key-revoke"),
]
