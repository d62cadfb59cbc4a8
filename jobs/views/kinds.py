"""Kinds of jobs over HTTP: what may be created here, and what each wants."""

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from jobplatform.api.pages import CursorPage
from jobplatform.api.problems import Problem
from jobplatform.api.schema import LIST_PARAMETERS, PROBLEMS, page_of
from jobplatform.api.views import ApiRequest, ApiView
from jobs import registry, tuning
from jobs.serializers import KindShown, show_kind


class KindsView(ApiView):
    """Kinds of jobs that can be created here, with the JSON schema of their payloads and an example of each."""

    name = "Kinds"
    scopes = {"GET": "jobs:read"}

    @extend_schema(
        operation_id="kinds_list", parameters=LIST_PARAMETERS, responses={200: page_of(KindShown), **PROBLEMS}
    )
    def get(self, request: ApiRequest) -> Response:
        """List the kinds by name."""
        tuning.refresh()
        page = CursorPage(request, keys=("name",), newest_first=False)
        kinds = [kind for kind in registry.kinds() if kind.public]
        if page.after is not None:
            (edge,) = page.after
            kinds = [kind for kind in kinds if (kind.name < edge if page.descending else kind.name > edge)]
        if page.descending:
            kinds.reverse()
        rows = page.ordered(kinds[: page.fetch])
        return Response(page.answer(rows, key=lambda kind: (kind.name,), show=show_kind))


class KindView(ApiView):
    """One kind of job: what its payload must be, and its policies."""

    name = "Kind"
    scopes = {"GET": "jobs:read"}

    @extend_schema(operation_id="kinds_get", responses={200: KindShown, **PROBLEMS})
    def get(self, request: ApiRequest, kind: str) -> Response:
        """Show one kind."""
        tuning.refresh()
        found = registry.find(kind)
        if found is None or not found.public:
            raise Problem(404, "kind_not_found", "There is no such kind.")
        return Response(show_kind(found))
