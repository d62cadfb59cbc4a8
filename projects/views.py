"""Projects and keys over HTTP. A project sees itself and its own keys; the operator sees all."""

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from jobplatform.api.idempotency import idempotent
from jobplatform.api.pages import CursorPage
from jobplatform.api.problems import answer_with
from jobplatform.api.schema import LIST_PARAMETERS, PROBLEMS, IdempotencyHeader, page_of
from jobplatform.api.views import ApiRequest, ApiView, Caller
from projects import scopes, selectors, services
from projects.errors import (
    AlreadyExpired,
    KeyEnded,
    KeyNotFound,
    ProjectNotFound,
    ProjectsError,
    ScopeNotHeld,
    SlugTaken,
    WeightNotHeld,
)
from projects.models import ApiKey
from projects.serializers import (
    CreateProject,
    IssueKey,
    KeyIssued,
    KeyShown,
    ProjectCreated,
    ProjectShown,
    RevokeKey,
    show_key,
    show_project,
)

answer_with(
    {
        ProjectsError: 422,
        ProjectNotFound: 404,
        KeyNotFound: 404,
        SlugTaken: 409,
        ScopeNotHeld: 403,
        WeightNotHeld: 403,
        KeyEnded: 401,
        AlreadyExpired: 422,
    }
)


def visible_to(caller: Caller) -> UUID | None:
    """The one project that a key sees; None for a person, who sees all."""
    return None if caller.user_id is not None else caller.project_id


class ProjectsView(ApiView):
    """Projects.

    GET lists the projects that you see. POST creates one, with a first key that holds the scopes that you hold, but for
    `projects:write` if you are a key yourself. A key's project weighs no less than those that it creates.
    """

    name = "Projects"
    scopes = {"GET": "projects:read", "POST": "projects:write"}
    project_optional = True

    @extend_schema(
        operation_id="projects_list", parameters=LIST_PARAMETERS, responses={200: page_of(ProjectShown), **PROBLEMS}
    )
    def get(self, request: ApiRequest) -> Response:
        """List the projects that the caller sees: a key's own, or all for a person of the staff."""
        page = CursorPage(request)
        rows = page.of(selectors.projects(only=visible_to(request.caller)))
        return Response(page.answer(rows, key=lambda project: (project.id,), show=show_project))

    @extend_schema(
        operation_id="projects_create",
        parameters=[IdempotencyHeader],
        request=CreateProject,
        responses={201: ProjectCreated, **PROBLEMS},
    )
    def post(self, request: ApiRequest) -> Response:
        """Create a project and its first key, whose text is shown in this answer only."""
        ask = request.body_as(CreateProject)
        caller = request.caller

        def create() -> Response:
            project, issued = services.create_project_with_key(
                name=ask.name,
                slug=ask.slug or "",
                weight=ask.weight,
                held=caller.scopes,
                actor=caller.actor,
                by_key=caller.key_id,
            )
            shown = {**show_project(project), "api_key": {**show_key(issued.key), "key": issued.text}}
            return Response(shown, status=201, headers={"Location": shown["links"]["self"]})

        route = f"POST /api/v1/projects by {caller.actor}"  # a secret is repeated to nobody else
        return idempotent(request, project_id=caller.project_id, route=route, fn=create, sealed=True)

    def get_example(self, request: ApiRequest) -> dict[str, object]:
        """A project that can be created."""
        return {"name": "Web shop", "weight": 1}


class ProjectView(ApiView):
    """One project."""

    name = "Project"
    scopes = {"GET": "projects:read"}
    project_optional = True

    @extend_schema(operation_id="projects_get", responses={200: ProjectShown, **PROBLEMS})
    def get(self, request: ApiRequest, project_id: UUID) -> Response:
        """Show one project. Another tenant's is as unknown as none at all."""
        return Response(show_project(selectors.project(project_id, only=visible_to(request.caller))))


class KeysView(ApiView):
    """API keys of the project.

    POST issues one. Its text is in that answer and nowhere else: keep it.
    """

    name = "Keys"
    scopes = {"GET": "keys:read", "POST": "keys:write"}

    @extend_schema(operation_id="keys_list", parameters=LIST_PARAMETERS, responses={200: page_of(KeyShown), **PROBLEMS})
    def get(self, request: ApiRequest) -> Response:
        """List the project's keys, revoked ones too, newest first."""
        page = CursorPage(request, keys=("created_at", "key_id"))
        rows = page.of(selectors.keys(project_id=request.caller.project_id))
        return Response(page.answer(rows, key=_place_of, show=show_key))

    @extend_schema(
        operation_id="keys_create",
        parameters=[IdempotencyHeader],
        request=IssueKey,
        responses={201: KeyIssued, **PROBLEMS},
    )
    def post(self, request: ApiRequest) -> Response:
        """Issue a key with some of the scopes that the caller holds. Its text is shown in this answer only."""
        ask = request.body_as(IssueKey)
        caller = request.caller

        def issue() -> Response:
            issued = services.issue_key(
                project_id=caller.project_id,
                name=ask.name,
                scopes_asked=ask.scopes,
                held=caller.scopes,
                expires_at=ask.expires_at,
                actor=caller.actor,
                by_key=caller.key_id,
            )
            shown = {**show_key(issued.key), "key": issued.text}
            return Response(shown, status=201, headers={"Location": shown["links"]["self"]})

        route = f"POST /api/v1/keys by {caller.actor}"  # (same)
        return idempotent(request, project_id=caller.project_id, route=route, fn=issue, sealed=True)

    def get_example(self, request: ApiRequest) -> dict[str, object]:
        """A key that can be issued."""
        return {"name": "Order service", "scopes": sorted(scopes.READING)}


def _place_of(key: ApiKey) -> tuple[object, ...]:
    return (key.created_at, key.key_id)


class KeyView(ApiView):
    """One API key, without its secret."""

    name = "Key"
    scopes = {"GET": "keys:read"}

    @extend_schema(operation_id="keys_get", responses={200: KeyShown, **PROBLEMS})
    def get(self, request: ApiRequest, key_id: str) -> Response:
        """Show one key of the project."""
        return Response(show_key(selectors.key(key_id, project_id=request.caller.project_id)))


class RevokeKeyView(ApiView):
    """Revoke an API key: it is refused from the next request on, for good."""

    name = "Revoke key"
    scopes = {"POST": "keys:write"}

    @extend_schema(operation_id="keys_revoke", request=RevokeKey, responses={200: KeyShown, **PROBLEMS})
    def post(self, request: ApiRequest, key_id: str) -> Response:
        """Revoke a key of the project. Once more changes nothing."""
        ask = request.body_as(RevokeKey, optional=True)
        key = services.revoke_key(
            project_id=request.caller.project_id, key_id=key_id, actor=request.caller.actor, reason=ask.reason
        )
        return Response(show_key(key))

    def get_example(self, request: ApiRequest) -> dict[str, object]:
        """A reason."""
        return {"reason": "The laptop that held it was lost."}
