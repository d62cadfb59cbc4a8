"""Writing projects and keys. Each call is one transaction and leaves a row in the audit record."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import DateTimeField
from django.db.models.expressions import RawSQL
from django.utils.text import slugify

from events import audit
from jobs import services as jobs
from projects import keys, scopes, selectors
from projects.errors import AlreadyExpired, KeyEnded, KeyNotFound, ScopeNotHeld, SlugTaken, WeightNotHeld
from projects.models import ApiKey, Project

_LONGEST_SLUG = 63
_STILL_GOOD = """
select p.weight from projects_apikey k join projects_project p on p.id = k.project_id
where k.key_id = %s and k.revoked_at is null and (k.expires_at is null or k.expires_at > (select platform_now()))
for share of k
"""


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key: its row, and its text, which is nowhere else and cannot be had again."""

    key: ApiKey
    text: str = field(repr=False)


def create_project(*, name: str, actor: str, slug: str = "", weight: int = 1, reason: str = "") -> Project:
    """Create a project. Without a slug, one is made from the name. Raises `SlugTaken`.

    `actor` is `user:<name>`, `key:<key id>` or `system`.
    """
    project = Project(name=name, weight=weight)
    # A made slug ends in the random part of the id, so it is never taken.
    project.slug = slug or f"{slugify(name)[: _LONGEST_SLUG - 13] or 'project'}-{project.id.hex[-12:]}"
    with transaction.atomic():
        try:
            with transaction.atomic():
                project.save(force_insert=True)
        except IntegrityError:
            if Project.objects.filter(slug=project.slug).exists():
                raise SlugTaken(slug=project.slug) from None
            raise
        jobs.weigh(project.id, weight)
        audit.record(
            action="project.create",
            actor=actor,
            project_id=project.id,
            subject_type="project",
            subject_id=project.id,
            reason=reason,
            data={"name": name, "slug": project.slug, "weight": weight},
        )
    project.refresh_from_db(fields=["created_at"])
    return project


def _still_good(key_id: str) -> int:
    """The weight of a key's project; until the transaction ends, nobody revokes the key. Raises `KeyEnded`.

    Its request was let in when it began. Its body may have taken its time, and what it issues would outlive it.
    """
    with connection.cursor() as cursor:
        cursor.execute(_STILL_GOOD, [key_id])
        row = cursor.fetchone()
    if row is None:
        raise KeyEnded
    return int(row[0])


def create_project_with_key(
    *, name: str, actor: str, held: frozenset[str], slug: str = "", weight: int = 1, by_key: str = ""
) -> tuple[Project, IssuedKey]:
    """Create a project and its first key, which holds `held`: without one, nobody could do anything in it.

    `by_key`: the key that asks, if a key does. Its project may be a tenant's: the new one weighs no more, and its first
    key creates no further projects. Raises `SlugTaken`, `WeightNotHeld`, `KeyEnded`.
    """
    with transaction.atomic():
        if by_key:
            if weight > _still_good(by_key):
                raise WeightNotHeld(weight=weight)
            held -= scopes.OPERATORS
        project = create_project(name=name, slug=slug, weight=weight, actor=actor)
        return project, issue_key(project_id=project.id, name="First key", scopes_asked=held, held=held, actor=actor)


def change_project(*, project_id: UUID, name: str, weight: int, actor: str, reason: str = "") -> Project:
    """Give a project another name or weight. Its slug stays: others may have written it down.

    Raises `ProjectNotFound`.
    """
    with transaction.atomic():
        project = selectors.project(project_id)
        before = {"name": project.name, "weight": project.weight}
        project.name, project.weight = name, weight
        project.save(update_fields=["name", "weight"])
        jobs.weigh(project.id, weight)
        audit.record(
            action="project.change",
            actor=actor,
            project_id=project.id,
            subject_type="project",
            subject_id=project.id,
            reason=reason,
            data={"before": before, "after": {"name": name, "weight": weight}},
        )
    return project


def issue_key(
    *,
    project_id: UUID,
    name: str,
    scopes_asked: Iterable[str],
    actor: str,
    held: frozenset[str] = scopes.ALL,
    expires_at: datetime | None = None,
    reason: str = "",
    by_key: str = "",
) -> IssuedKey:
    """Issue a key to a project. `held` are the scopes of whoever asks: nobody can give what he does not have.

    `by_key`: the key that asks, if a key does.
    Raises `ProjectNotFound`, `UnknownScope`, `ScopeNotHeld`, `AlreadyExpired`, `KeyEnded`.
    """
    granted = scopes.known(scopes_asked)
    if missing := [scope for scope in granted if scope not in held]:
        raise ScopeNotHeld(scopes=missing)
    new = keys.generate()
    with transaction.atomic():
        if by_key:
            _still_good(by_key)
        project = selectors.project(project_id)
        if expires_at is not None and expires_at <= selectors.platform_now():
            raise AlreadyExpired(expires_at=expires_at)
        key = ApiKey(
            key_id=new.key_id,
            project=project,
            name=name,
            hash=keys.digest(new.text, settings.API_KEY_PEPPER),
            scopes=granted,
            expires_at=expires_at,
            created_by=actor,
        )
        key.save(force_insert=True)
        audit.record(
            action="key.issue",
            actor=actor,
            project_id=project_id,
            subject_type="key",
            subject_id=new.key_id,
            reason=reason,
            data={"name": name, "scopes": granted, "expires_at": expires_at.isoformat() if expires_at else None},
        )
    key.refresh_from_db(fields=["created_at"])
    return IssuedKey(key, new.text)


def revoke_key(*, project_id: UUID, key_id: str, actor: str, reason: str = "") -> ApiKey:
    """Revoke a key, at once and for good. Once more changes nothing. Raises `KeyNotFound`."""
    with transaction.atomic():
        changed = ApiKey.objects.filter(project_id=project_id, key_id=key_id, revoked_at=None).update(
            revoked_at=RawSQL("(select platform_now())", (), DateTimeField())
        )
        key = selectors.keys(project_id=project_id).filter(key_id=key_id).first()
        if key is None:
            raise KeyNotFound(key_id=key_id)
        if changed:
            audit.record(
                action="key.revoke",
                actor=actor,
                project_id=project_id,
                subject_type="key",
                subject_id=key_id,
                reason=reason,
            )
    return key
