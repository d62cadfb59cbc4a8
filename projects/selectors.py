"""Reading projects and keys. Whatever belongs to a project is asked for with that project's id."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from projects.errors import KeyNotFound, ProjectNotFound
from projects.models import ApiKey, Project


def projects(*, only: UUID | None = None) -> QuerySet[Project]:
    """All projects, for the operator; with `only`, that one, for the project itself."""
    return Project.objects.all() if only is None else Project.objects.filter(id=only)


def project(project_id: UUID, *, only: UUID | None = None) -> Project:
    """One project. Raises `ProjectNotFound`, also for one that exists but is not `only`."""
    found = projects(only=only).filter(id=project_id).first()
    if found is None:
        raise ProjectNotFound(project_id=project_id)
    return found


def project_named(name: str) -> Project | None:
    """The project of this id or slug, for the operator's choice."""
    try:
        return Project.objects.filter(id=UUID(name)).first()
    except ValueError:
        return Project.objects.filter(slug=name).first()


def keys(*, project_id: UUID) -> QuerySet[ApiKey]:
    """The keys of a project, revoked ones too, without what is kept of their secrets."""
    return ApiKey.objects.filter(project_id=project_id).defer("hash")


def key(key_id: str, *, project_id: UUID) -> ApiKey:
    """One key of a project. Raises `KeyNotFound`."""
    found = keys(project_id=project_id).filter(key_id=key_id).first()
    if found is None:
        raise KeyNotFound(key_id=key_id)
    return found


def usable(key_ids: Iterable[str]) -> dict[str, frozenset[str]]:
    """Of these keys those that are neither revoked nor expired, with their scopes."""
    known = ApiKey.objects.filter(key_id__in=list(key_ids), revoked_at=None)
    good = known.extra(where=["(expires_at is null or expires_at > (select platform_now()))"])
    return {key_id: frozenset(scopes) for key_id, scopes in good.values_list("key_id", "scopes")}


def platform_now() -> datetime:
    """The time that rules expiries; tests and the demo may move it."""
    with connection.cursor() as cursor:
        cursor.execute("select platform_now()")
        now: datetime = cursor.fetchone()[0]
        return now
