"""Writing projects and keys: one transaction each, with a row in the audit record."""

import datetime as dt
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from events.log import move_clock
from events.models import AuditRecord
from projects import keys, scopes, selectors, services
from projects.errors import (
    AlreadyExpired,
    KeyEnded,
    KeyNotFound,
    ProjectNotFound,
    ScopeNotHeld,
    SlugTaken,
    UnknownScope,
)
from projects.models import ApiKey, Project

pytestmark = pytest.mark.django_db


def acts() -> list[tuple[Any, ...]]:
    return list(
        AuditRecord.objects.order_by("id").values_list("action", "actor", "subject_type", "subject_id", "reason")
    )


def issue(project: Project, **more: Any) -> services.IssuedKey:
    return services.issue_key(
        **{"project_id": project.id, "name": "k", "scopes_asked": ["jobs:read"], "actor": "system", **more}
    )


@pytest.fixture
def project() -> Project:
    return services.create_project(name="Web Shop", actor="user:ann", reason="new customer")


# ------------------------------------------------------------------------------------------------ projects
def test_a_project_is_made_with_a_slug_of_its_own(project: Project) -> None:
    other = services.create_project(name="Web Shop", actor="system")

    assert project.slug.startswith("web-shop-")
    assert project.slug != other.slug
    assert project.id.version == 7
    assert project.id < other.id
    assert project.created_at is not None
    assert acts()[0] == ("project.create", "user:ann", "project", str(project.id), "new customer")


@pytest.mark.parametrize("name", ["日本語", "!!!", "a" * 100, "<script>"])
def test_any_name_makes_a_slug(name: str) -> None:
    slug = services.create_project(name=name, actor="system").slug

    assert 0 < len(slug) <= 63
    assert slug.isascii()


def test_a_slug_belongs_to_one_project() -> None:
    services.create_project(name="a", slug="shop", actor="system")

    with pytest.raises(SlugTaken):
        services.create_project(name="b", slug="shop", actor="system")

    assert Project.objects.count() == 1
    assert len(acts()) == 1


def test_a_project_is_changed_and_its_slug_stays(project: Project) -> None:
    services.change_project(project_id=project.id, name="Shop", weight=5, actor="user:bob", reason="pays more")

    changed = Project.objects.get()
    assert (changed.name, changed.weight, changed.slug) == ("Shop", 5, project.slug)
    data = AuditRecord.objects.get(action="project.change").data
    assert data == {"before": {"name": "Web Shop", "weight": 1}, "after": {"name": "Shop", "weight": 5}}


# ------------------------------------------------------------------------------------------------ keys
def test_a_key_is_issued_and_only_its_hash_is_kept(project: Project) -> None:
    issued = issue(project, scopes_asked=["jobs:write", "jobs:read", "jobs:read"], reason="for the shop")

    kept = ApiKey.objects.get()
    assert kept.key_id == keys.key_id_of(issued.text)
    assert (kept.project_id, kept.scopes, kept.created_by) == (project.id, ["jobs:read", "jobs:write"], "system")
    assert len(bytes(kept.hash)) == 32
    assert acts()[-1] == ("key.issue", "system", "key", kept.key_id, "for the shop")
    assert issued.text not in repr(issued)
    assert issued.text not in str(AuditRecord.objects.get(action="key.issue").data)


@pytest.mark.parametrize(
    "more, error",
    [
        ({"scopes_asked": ["jobs:fly"]}, UnknownScope),
        ({"scopes_asked": ["jobs:write"], "held": frozenset({"jobs:read"})}, ScopeNotHeld),
        ({"project_id": UUID(int=9)}, ProjectNotFound),
    ],
)
def test_a_key_that_may_not_be_is_not_issued(project: Project, more: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        issue(project, **more)

    assert ApiKey.objects.count() == 0
    assert [act[0] for act in acts()] == ["project.create"]


def test_a_key_cannot_expire_before_it_begins(project: Project) -> None:
    now = selectors.platform_now()
    move_clock(timedelta(days=10))

    with pytest.raises(AlreadyExpired):
        issue(project, expires_at=now + timedelta(days=9))

    assert issue(project, expires_at=now + timedelta(days=11)).key.expires_at is not None


def test_a_key_is_revoked_once(project: Project) -> None:
    key_id = issue(project).key.key_id

    first = services.revoke_key(project_id=project.id, key_id=key_id, actor="user:ann", reason="lost")
    again = services.revoke_key(project_id=project.id, key_id=key_id, actor="user:bob", reason="lost, I said")

    assert first.revoked_at is not None
    assert again.revoked_at == first.revoked_at
    assert [act for act in acts() if act[0] == "key.revoke"] == [("key.revoke", "user:ann", "key", key_id, "lost")]


def test_a_key_of_another_project_is_unknown(project: Project) -> None:
    key_id = issue(project).key.key_id
    other = services.create_project(name="Other", actor="system")

    with pytest.raises(KeyNotFound):
        services.revoke_key(project_id=other.id, key_id=key_id, actor="user:eve")
    with pytest.raises(KeyNotFound):
        selectors.key(key_id, project_id=other.id)

    assert ApiKey.objects.get(key_id=key_id).revoked_at is None


def test_the_first_key_of_a_project_holds_what_its_maker_holds() -> None:
    held = frozenset({"jobs:read", "projects:write"})

    project, issued = services.create_project_with_key(name="New", held=held, actor="key:abc")

    assert issued.key.project_id == project.id
    assert set(issued.key.scopes) == held


@pytest.mark.parametrize(
    "gone",
    [{"revoked_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}, {"expires_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}],
)
def test_a_key_that_ended_while_it_asked_issues_nothing(project: Project, gone: dict[str, Any]) -> None:
    """Its request was let in, and its body came later."""
    asking = issue(project).key
    ApiKey.objects.filter(key_id=asking.key_id).update(**gone)
    made = (Project.objects.count(), ApiKey.objects.count())

    with pytest.raises(KeyEnded):
        issue(project, by_key=asking.key_id)
    with pytest.raises(KeyEnded):
        services.create_project_with_key(name="New", held=scopes.ALL, actor="key:x", by_key=asking.key_id)

    assert (Project.objects.count(), ApiKey.objects.count()) == made


def test_what_is_written_is_undone_with_the_callers_transaction(project: Project) -> None:
    with transaction.atomic():
        issue(project)
        transaction.set_rollback(True)

    assert ApiKey.objects.count() == 0
    assert [act[0] for act in acts()] == ["project.create"]


def test_scopes_are_those_of_the_table(project: Project) -> None:
    assert set(issue(project, scopes_asked=scopes.ALL).key.scopes) == scopes.ALL
