"""Projects and keys as JSON: what a request may hold, and what an answer shows."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from django.urls import reverse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from jobplatform.api.query import Moment
from projects import scopes
from projects.models import MOST_WEIGHT, ApiKey, Project

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
# Which scopes there are is for the service to say; the schema shows them.
Scope = Annotated[str, Field(json_schema_extra={"enum": sorted(scopes.ALL)})]


class Ask(BaseModel):
    """A request's body: unknown fields are refused, so that a misspelt one is not silently left out."""

    model_config = ConfigDict(extra="forbid")


class CreateProject(Ask):
    """What a project is made of."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "Shop"}})

    name: Name
    slug: Slug | None = None
    weight: int = Field(default=1, ge=1, le=MOST_WEIGHT)


class IssueKey(Ask):
    """What a key is made of."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "Shop", "scopes": ["jobs:read", "jobs:write"]}})

    name: Name
    scopes: list[Scope] = Field(min_length=1, max_length=100)
    expires_at: Moment | None = None


class RevokeKey(Ask):
    """Why a key is revoked."""

    reason: str = Field(default="", max_length=500)


class ProjectShown(BaseModel):
    """A project as JSON."""

    id: UUID
    name: str
    slug: str
    weight: int
    created_at: datetime
    links: dict[str, str]


class KeyShown(BaseModel):
    """A key as JSON, without its secret."""

    id: str
    project_id: UUID
    name: str
    scopes: list[str]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    links: dict[str, str]


class KeyIssued(KeyShown):
    """A key as JSON when it is issued: the only time that its text is shown."""

    key: str


class ProjectCreated(ProjectShown):
    """A new project, with its first key."""

    api_key: KeyIssued


def show_project(project: Project) -> dict[str, Any]:
    """A `ProjectShown`."""
    return {
        "id": project.id,
        "name": project.name,
        "slug": project.slug,
        "weight": project.weight,
        "created_at": project.created_at,
        "links": {"self": reverse("projects:project", args=[project.id]), "keys": reverse("projects:keys")},
    }


def show_key(key: ApiKey) -> dict[str, Any]:
    """A `KeyShown`."""
    address = reverse("projects:key", args=[key.key_id])
    return {
        "id": key.key_id,
        "project_id": key.project_id,
        "name": key.name,
        "scopes": key.scopes,
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
        "links": {"self": address, "revoke": f"{address}/revoke"},
    }
