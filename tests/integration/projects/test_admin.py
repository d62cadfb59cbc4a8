"""Projects and keys in the admin: secrets shown once, every act in the audit record, nothing deleted."""

import re
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from events.models import AuditRecord
from projects import authentication, keys, services
from projects.models import ApiKey, Project
from tests.integration.projects.conftest import Tenant

pytestmark = [pytest.mark.urls("tests.integration.jobplatform.api.routes"), pytest.mark.django_db]

PROJECTS = "admin:projects_project_changelist"
KEYS = "admin:projects_apikey_changelist"
NASTY = "<script>alert(1)</script>"


@pytest.fixture
def root(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("root"))
    return client


def with_permissions(client: Client, *names: str) -> Client:
    user = get_user_model().objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(user)
    return client


def issue(client: Client, to: Project, **more: Any) -> Any:
    form = {"project": to.pk, "name": "Shop", "scopes": ["jobs:read", "jobs:write"], "expires_at_0": "", **more}
    return client.post(reverse("admin:projects_apikey_add"), form)


def shown_key(answer: Any) -> str:
    found = re.search(r'id="issued-key"[^>]*>([^<]+)<', answer.content.decode())
    assert found, answer.content.decode()[:3000]
    return found[1]


# ------------------------------------------------------------------------------------------------ projects
def test_projects_are_listed_and_searched(root: Client, ours: Tenant, theirs: Tenant) -> None:
    listed = root.get(reverse(PROJECTS)).content.decode()
    found = root.get(reverse(PROJECTS), {"q": "Theirs"}).content.decode()

    assert ours.project.slug in listed
    assert theirs.project.slug in listed
    assert theirs.project.slug in found
    assert ours.project.slug not in found


def test_a_project_is_created_through_the_service(root: Client) -> None:
    answer = root.post(reverse("admin:projects_project_add"), {"name": "Shop", "slug": "shop", "weight": 2})

    project = Project.objects.get()
    assert answer.status_code == 302
    assert (project.name, project.slug, project.weight) == ("Shop", "shop", 2)
    assert AuditRecord.objects.get().actor == "user:root"


def test_a_project_is_changed_but_its_slug_stays(root: Client, ours: Tenant) -> None:
    address = reverse("admin:projects_project_change", args=[ours.project.pk])

    root.post(address, {"name": "New", "slug": "stolen", "weight": 7})

    project = Project.objects.get(pk=ours.project.pk)
    assert (project.name, project.weight, project.slug) == ("New", 7, ours.project.slug)
    assert AuditRecord.objects.get(action="project.change").actor == "user:root"


@pytest.mark.parametrize("model", ["project", "apikey"])
def test_nothing_is_deleted(root: Client, ours: Tenant, model: str) -> None:
    key = ours.project.pk if model == "project" else ours.key_id

    assert root.post(reverse(f"admin:projects_{model}_delete", args=[key]), {"post": "yes"}).status_code == 403
    root.post(
        reverse(f"admin:projects_{model}_changelist"), {"action": "delete_selected", "_selected_action": [str(key)]}
    )
    assert ApiKey.objects.filter(pk=ours.key_id).exists()
    assert Project.objects.filter(pk=ours.project.pk).exists()


# ------------------------------------------------------------------------------------------------ keys
def test_the_text_of_a_key_is_shown_once_and_never_again(root: Client, ours: Tenant) -> None:
    answer = issue(root, ours.project)
    text = shown_key(answer)

    assert answer.status_code == 200  # no redirect: it would have to be kept somewhere on the way
    assert "no-store" in answer.headers["Cache-Control"]
    assert authentication.credential_of(text).scopes == {"jobs:read", "jobs:write"}
    key_id = keys.key_id_of(text)
    assert AuditRecord.objects.get(action="key.issue", subject_id=key_id).actor == "user:root"
    secret = text[21:]
    kept = bytes(ApiKey.objects.get(pk=key_id).hash)
    later = [
        root.get(reverse(KEYS)),
        root.get(reverse("admin:projects_apikey_change", args=[key_id])),
        root.get(reverse("admin:projects_apikey_history", args=[key_id])),
        root.get(reverse("admin:index")),
    ]
    for page in later:
        assert page.status_code == 200
        assert secret not in page.content.decode()
        assert kept.hex() not in page.content.decode()
    assert all(secret not in str(dict(client_session)) for client_session in [root.session])
    assert all(secret not in cookie.value for cookie in root.cookies.values())


@pytest.mark.parametrize("more", [{"scopes": []}, {"scopes": ["jobs:fly"]}, {"name": ""}, {"project": ""}])
def test_a_key_that_does_not_fit_is_not_issued(root: Client, ours: Tenant, more: dict[str, Any]) -> None:
    answer = issue(root, ours.project, **more)

    assert answer.status_code == 200
    assert "issued-key" not in answer.content.decode()
    assert ApiKey.objects.count() == 1


def test_a_key_that_has_expired_already_is_refused_in_the_form(root: Client, ours: Tenant) -> None:
    answer = issue(root, ours.project, expires_at_0="2020-01-01", expires_at_1="00:00:00")

    assert answer.status_code == 200
    assert "issued-key" not in answer.content.decode()
    assert "expire" in answer.content.decode()
    assert ApiKey.objects.count() == 1


def test_a_key_is_not_changed(root: Client, ours: Tenant) -> None:
    root.post(reverse("admin:projects_apikey_change", args=[ours.key_id]), {"name": "other", "scopes": ["jobs:read"]})

    assert ApiKey.objects.get(pk=ours.key_id).name == "all"


def test_a_key_is_revoked_with_a_reason(root: Client, ours: Tenant) -> None:
    page = root.get(reverse("admin:projects_apikey_change", args=[ours.key_id])).content.decode()
    address = reverse("admin:projects_apikey_revoke", args=[ours.key_id])
    assert address in page

    assert "reason" in root.get(address).content.decode()
    root.post(address, {"_form_submitted": "True", "reason": ""})
    assert ApiKey.objects.get(pk=ours.key_id).revoked_at is None
    answer = root.post(address, {"_form_submitted": "True", "reason": "lost"})
    root.post(address, {"_form_submitted": "True", "reason": "double click"})

    assert answer.headers["HX-Redirect"] == reverse("admin:projects_apikey_change", args=[ours.key_id])
    assert ApiKey.objects.get(pk=ours.key_id).revoked_at is not None
    record = AuditRecord.objects.get(action="key.revoke")
    assert (record.actor, record.reason) == ("user:root", "lost")


def test_who_may_only_look_does_not_revoke(client: Client, ours: Tenant) -> None:
    clerk = with_permissions(client, "view_apikey", "view_project")

    assert clerk.get(reverse(KEYS)).status_code == 200
    assert issue(clerk, ours.project).status_code == 403
    address = reverse("admin:projects_apikey_revoke", args=[ours.key_id])
    assert clerk.post(address, {"_form_submitted": "True", "reason": "x"}).status_code == 403
    assert ApiKey.objects.get(pk=ours.key_id).revoked_at is None


def test_keys_are_found_by_what_is_known_of_them(root: Client, ours: Tenant, theirs: Tenant) -> None:
    for words in (ours.key_id, ours.project.slug):
        found = root.get(reverse(KEYS), {"q": words}).content.decode()
        assert ours.key_id in found
        assert theirs.key_id not in found


def test_names_are_shown_as_text(root: Client) -> None:
    project = services.create_project(name=NASTY, actor="system")
    services.issue_key(project_id=project.id, name=NASTY, scopes_asked=["jobs:read"], actor="system")
    pages = [root.get(reverse(PROJECTS)), root.get(reverse(KEYS)), issue(root, project)]

    for page in pages:
        assert NASTY not in page.content.decode()
        assert "script-src 'self' 'unsafe-eval';" in page.headers["Content-Security-Policy"]
