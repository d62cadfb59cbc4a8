"""Projects and keys over HTTP: what a tenant sees, and that tenants never see one another (T54)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from events.models import AuditRecord
from projects import scopes, services
from projects.models import ApiKey, Project
from tests.integration.projects.conftest import Call, Tenant

pytestmark = [pytest.mark.urls("tests.integration.jobplatform.api.routes"), pytest.mark.django_db]

PROJECTS = "/api/v1/projects"
KEYS = "/api/v1/keys"


# ------------------------------------------------------------------------------------------------ projects
def test_a_project_is_created_with_a_key_that_works(call: Call, ours: Tenant) -> None:
    services.change_project(project_id=ours.project.id, name="Ours", weight=3, actor="system")

    answer = call("POST", PROJECTS, {"name": "  Shop  ", "slug": "shop", "weight": 3})

    assert answer.status_code == 201
    made = answer.json()
    assert (made["name"], made["slug"], made["weight"]) == ("Shop", "shop", 3)
    assert made["created_at"].endswith("Z")
    assert answer.headers["Location"] == made["links"]["self"] == f"{PROJECTS}/{made['id']}"
    text = made["api_key"]["key"]
    assert call("GET", made["links"]["self"], key=text).json()["id"] == made["id"]
    assert set(made["api_key"]["scopes"]) == scopes.ALL - scopes.OPERATORS
    assert AuditRecord.objects.get(action="project.create", subject_id=made["id"]).actor == f"key:{ours.key_id}"


def test_a_key_cannot_make_a_project_with_more_scopes_than_it_holds(call: Call, ours: Tenant) -> None:
    maker = services.issue_key(
        project_id=ours.project.id, name="m", scopes_asked=["jobs:read", "projects:write"], actor="system"
    )

    made = call("POST", PROJECTS, {"name": "Shop"}, key=maker.text).json()

    assert made["api_key"]["scopes"] == ["jobs:read"]


def test_a_key_cannot_make_a_project_that_gets_more_of_the_workers(call: Call, ours: Tenant) -> None:
    answer = call("POST", PROJECTS, {"name": "Shop", "weight": ours.project.weight + 1})

    assert (answer.status_code, answer.json()["code"]) == (403, "weight_not_held")
    assert answer.json()["errors"][0]["field"] == "/weight"


@pytest.mark.parametrize(
    "body, field, code",
    [
        ({}, "/name", "missing"),
        ({"name": ""}, "/name", "string_too_short"),
        ({"name": "   "}, "/name", "string_too_short"),
        ({"name": "a" * 101}, "/name", "string_too_long"),
        ({"name": 5}, "/name", "string_type"),
        ({"name": "a", "slug": "A"}, "/slug", "string_pattern_mismatch"),
        ({"name": "a", "slug": "-a"}, "/slug", "string_pattern_mismatch"),
        ({"name": "a", "slug": "a\n"}, "/slug", "string_pattern_mismatch"),
        ({"name": "a", "slug": "a" * 64}, "/slug", "string_pattern_mismatch"),
        ({"name": "a", "weight": 0}, "/weight", "greater_than_equal"),
        ({"name": "a", "weight": 101}, "/weight", "less_than_equal"),
        ({"name": "a", "weight": 10**18}, "/weight", "less_than_equal"),
        ({"name": "a", "owner": "b"}, "/owner", "extra_forbidden"),
        ([], "", "model_type"),
    ],
)
def test_a_project_that_does_not_fit_is_refused(call: Call, body: Any, field: str, code: str) -> None:
    answer = call("POST", PROJECTS, body)

    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")
    assert [(error["field"], error["code"]) for error in answer.json()["errors"]] == [(field, code)]
    assert Project.objects.count() == 1


def test_a_slug_that_is_taken_is_a_conflict(call: Call) -> None:
    call("POST", PROJECTS, {"name": "a", "slug": "shop"})

    answer = call("POST", PROJECTS, {"name": "b", "slug": "shop"})

    assert (answer.status_code, answer.json()["code"]) == (409, "slug_taken")
    assert answer.json()["errors"][0]["field"] == "/slug"


# ------------------------------------------------------------------------------------------------ keys
def test_a_key_is_issued_and_shown_once(call: Call, ours: Tenant) -> None:
    expires = datetime.now(UTC) + timedelta(days=1)
    answer = call("POST", KEYS, {"name": "Shop", "scopes": ["jobs:read"], "expires_at": expires})

    assert answer.status_code == 201
    made = answer.json()
    assert made["key"].startswith(f"jp_live_{made['id']}_")
    assert answer.headers["Location"] == f"{KEYS}/{made['id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    again = call("GET", made["links"]["self"]).json()
    assert "key" not in again
    assert again == {name: value for name, value in made.items() if name != "key"}
    assert (again["created_by"], again["project_id"]) == (f"key:{ours.key_id}", str(ours.project.id))
    assert all("key" not in shown and "hash" not in shown for shown in call("GET", KEYS).json()["results"])


@pytest.mark.parametrize(
    "body, status, code",
    [
        ({"name": "k"}, 422, "validation_error"),
        ({"name": "k", "scopes": []}, 422, "validation_error"),
        ({"name": "k", "scopes": "jobs:read"}, 422, "validation_error"),
        ({"name": "k", "scopes": ["jobs:fly"]}, 422, "unknown_scope"),
        ({"name": "k", "scopes": ["jobs:read"] * 101}, 422, "validation_error"),
        ({"name": "k", "scopes": ["jobs:read"], "expires_at": "2020-01-01T00:00:00Z"}, 422, "already_expired"),
        ({"name": "k", "scopes": ["jobs:read"], "expires_at": "2030-01-01T00:00:00"}, 422, "validation_error"),
        ({"name": "k", "scopes": ["jobs:read"], "expires_at": "never"}, 422, "validation_error"),
        ({"name": "k", "scopes": ["jobs:read"], "expires_at": "9999-12-31T23:59:59-14:00"}, 422, "validation_error"),
        ({"name": "k", "scopes": ["jobs:read"], "expires_at": 1e300}, 422, "validation_error"),
        ({"name": "k", "scopes": ["jobs:read"], "expires_at": -(10**18)}, 422, "validation_error"),
    ],
)
def test_a_key_that_does_not_fit_is_refused(call: Call, body: Any, status: int, code: str) -> None:
    answer = call("POST", KEYS, body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ApiKey.objects.count() == 1


def test_nobody_gives_what_he_does_not_have(call: Call, ours: Tenant) -> None:
    small = services.issue_key(project_id=ours.project.id, name="s", scopes_asked=["keys:write"], actor="system")

    answer = call("POST", KEYS, {"name": "k", "scopes": ["jobs:write"]}, key=small.text)

    assert (answer.status_code, answer.json()["code"]) == (403, "scope_not_held")
    assert call("POST", KEYS, {"name": "k", "scopes": ["keys:write"]}, key=small.text).status_code == 201


def test_a_key_is_revoked_with_and_without_a_reason(call: Call, ours: Tenant) -> None:
    ids = [call("POST", KEYS, {"name": "k", "scopes": ["jobs:read"]}).json()["id"] for _ in range(2)]

    first = call("POST", f"{KEYS}/{ids[0]}/revoke", {"reason": "lost"})
    second = call("POST", f"{KEYS}/{ids[1]}/revoke")
    again = call("POST", f"{KEYS}/{ids[0]}/revoke", {"reason": "again"})

    assert first.status_code == second.status_code == again.status_code == 200
    assert first.json()["revoked_at"] == again.json()["revoked_at"] is not None
    record = AuditRecord.objects.get(action="key.revoke", subject_id=ids[0])
    assert (record.actor, record.reason) == (f"key:{ours.key_id}", "lost")


def test_a_key_may_revoke_itself(call: Call, ours: Tenant) -> None:
    assert call("POST", f"{KEYS}/{ours.key_id}/revoke").status_code == 200
    assert call("GET", KEYS).json()["code"] == "api_key_revoked"


def test_keys_are_listed_newest_first_in_pages(call: Call, ours: Tenant) -> None:
    ids = [call("POST", KEYS, {"name": str(n), "scopes": ["jobs:read"]}).json()["id"] for n in range(4)]
    ApiKey.objects.update(created_at=datetime.now(UTC))  # the same moment for all: the id decides

    pages = [call("GET", f"{KEYS}?limit=2").json()]
    while pages[-1]["next"]:
        pages.append(call("GET", pages[-1]["next"].removeprefix("http://testserver")).json())

    seen = [shown["id"] for page in pages for shown in page["results"]]
    assert seen == sorted([*ids, ours.key_id], reverse=True)


# ------------------------------------------------------------------------------------------------ once more
@pytest.mark.parametrize("path, body", [(PROJECTS, {"name": "Shop"}), (KEYS, {"name": "k", "scopes": ["jobs:read"]})])
def test_the_same_request_again_shows_the_same_secret(call: Call, path: str, body: Any) -> None:
    before = ApiKey.objects.count()

    first, again = (call("POST", path, body, Idempotency_Key='"once"') for _ in range(2))

    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert again.headers["Idempotency-Replayed"] == "true"
    assert ApiKey.objects.count() == before + 1


def test_a_secret_is_repeated_to_no_other_key_of_the_project(call: Call) -> None:
    body = {"name": "k", "scopes": ["jobs:read"]}
    lesser = call("POST", KEYS, {"name": "lesser", "scopes": ["keys:write"]}).json()["key"]
    assert call("POST", KEYS, body, Idempotency_Key="k1").status_code == 201

    answer = call("POST", KEYS, body, Idempotency_Key="k1", key=lesser)

    assert answer.status_code == 403  # it holds no jobs:read that it could hand on
    assert "key" not in answer.json()


def test_a_key_of_idempotency_is_the_tenants_own(call: Call, theirs: Tenant) -> None:
    body = {"name": "k", "scopes": ["jobs:read"]}
    mine = call("POST", KEYS, body, Idempotency_Key="k1").json()

    other = call("POST", KEYS, body, Idempotency_Key="k1", key=theirs.text)

    assert other.status_code == 201
    assert other.json()["id"] != mine["id"]
    assert other.json()["project_id"] == str(theirs.project.id)


# ------------------------------------------------------------------------------------------------ tenants
def test_a_tenant_sees_itself_alone(call: Call, ours: Tenant, theirs: Tenant) -> None:
    assert [shown["id"] for shown in call("GET", PROJECTS).json()["results"]] == [str(ours.project.id)]
    assert [shown["id"] for shown in call("GET", KEYS).json()["results"]] == [ours.key_id]


def test_what_belongs_to_another_tenant_is_as_unknown_as_what_is_not_there(
    call: Call, ours: Tenant, theirs: Tenant
) -> None:
    paths = [
        ("GET", f"{PROJECTS}/{theirs.project.id}", f"{PROJECTS}/018f6b1e-7b1c-7c3e-9d2a-1b2c3d4e5f60"),
        ("GET", f"{KEYS}/{theirs.key_id}", f"{KEYS}/aaaaaaaaaaaa"),
        ("POST", f"{KEYS}/{theirs.key_id}/revoke", f"{KEYS}/aaaaaaaaaaaa/revoke"),
    ]

    for method, foreign, absent in paths:
        one, other = call(method, foreign), call(method, absent)
        assert one.status_code == other.status_code == 404
        assert one.content == other.content
        assert one.json()["code"] == "not_found"
    assert ApiKey.objects.get(key_id=theirs.key_id).revoked_at is None


@pytest.mark.parametrize("how", ["query", "header"])
def test_a_program_cannot_choose_another_project(call: Call, ours: Tenant, theirs: Tenant, how: str) -> None:
    chosen = {"X_Project": str(theirs.project.id)} if how == "header" else {}
    query = f"?project={theirs.project.id}" if how == "query" else ""

    shown = call("GET", f"{KEYS}{query}", **chosen).json()["results"]

    assert [key["id"] for key in shown] == [ours.key_id]


def test_the_operator_sees_all_projects(client: Client, ours: Tenant, theirs: Tenant) -> None:
    client.force_login(get_user_model().objects.create_superuser("root"))

    seen = {shown["id"] for shown in client.get(PROJECTS).json()["results"]}

    assert seen == {str(ours.project.id), str(theirs.project.id)}
    assert client.get(f"{PROJECTS}/{theirs.project.id}").status_code == 200
    listed = client.get(KEYS, {"project": theirs.project.slug}).json()["results"]
    assert [key["id"] for key in listed] == [theirs.key_id]


def test_the_operator_creates_a_project_without_choosing_one(client: Client, ours: Tenant, theirs: Tenant) -> None:
    client.force_login(get_user_model().objects.create_superuser("root"))

    answer = client.post(PROJECTS, {"name": "Third"}, content_type="application/json")

    assert answer.status_code == 201
    assert AuditRecord.objects.get(action="project.create", subject_id=answer.json()["id"]).actor == "user:root"


@pytest.mark.parametrize(
    "method, path, scope",
    [
        ("GET", PROJECTS, "projects:read"),
        ("POST", PROJECTS, "projects:write"),
        ("GET", f"{PROJECTS}/018f6b1e-7b1c-7c3e-9d2a-1b2c3d4e5f60", "projects:read"),
        ("GET", KEYS, "keys:read"),
        ("POST", KEYS, "keys:write"),
        ("GET", f"{KEYS}/aaaaaaaaaaaa", "keys:read"),
        ("POST", f"{KEYS}/aaaaaaaaaaaa/revoke", "keys:write"),
    ],
)
def test_each_route_asks_for_its_scope(call: Call, ours: Tenant, method: str, path: str, scope: str) -> None:
    def status_with(*held: str) -> int:
        issued = services.issue_key(project_id=ours.project.id, name="s", scopes_asked=held, actor="system")
        return int(call(method, path, {} if method == "POST" else None, key=issued.text).status_code)

    assert status_with(*(scopes.ALL - {scope})) == 403
    assert status_with(scope) in {200, 404, 422}
    assert call(method, path, key=None).status_code == 401
