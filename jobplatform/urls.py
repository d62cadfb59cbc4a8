"""Every route of the web process."""

from functools import cache
from typing import Any

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response

from jobplatform import health
from projects import schema  # noqa: F401 - how requests authenticate, for the description


@extend_schema(exclude=True)
class SchemaView(SpectacularAPIView):
    """The API's description in OpenAPI 3. It is the same for everybody, so each process makes it once."""

    def get(self, request: Request, *_args: Any, **_kwargs: Any) -> Response:
        """The schema, as YAML or JSON."""
        return Response(_schema())


@cache
def _schema() -> Any:
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]


admin.autodiscover()  # only here: the other processes start without pages

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="docs")),
    path("admin/", admin.site.urls),
    path("api/v1/", include("jobs.urls")),
    path("api/v1/", include("events.urls")),
    path("api/v1/", include("projects.urls")),
    path("api/v1/", include("ingestion.urls")),
    path("api/v1/", include("confirmations.urls")),
    path("api/v1/", include("reconciliation.urls")),
    path("api/v1/schema", SchemaView.as_view(), name="schema"),
    path("api/v1/docs", SpectacularSwaggerSplitView.as_view(), name="docs"),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
]

handler400 = "jobplatform.api.refusals.handler400"
handler403 = "jobplatform.api.refusals.handler403"
handler404 = "jobplatform.api.refusals.handler404"
handler500 = "jobplatform.api.refusals.handler500"
