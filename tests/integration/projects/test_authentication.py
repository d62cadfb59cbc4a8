"""Who is asking: keys (S02–S04) and sessions."""

import hashlib
import logging
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from events.log import move_clock
from jobplatform.api.problems import Problem
from projects import authentication, keys, scopes, services
from projects.models import ApiKey, Project
from tests.integration.projects.conftest import Call, Tenant, make_tenant

pytestmark = pytest.mark.urls("tests.integration.jobplatform.api.routes")

KNOWN = "/api/v1/known"


def forged(text: str, *, key_id: str | None = None, secret: str | None = None) -> str:
    """A key with another id or secret and the right checksum."""
    body = f"{keys.PREFIX}{key_id or text[8:20]}_{secret or text[21:53]}"
    return body + keys.checksum(body)


# ------------------------------------------------------------------------------------------------ keys
def test_a_key_tells_project_key_and_scopes(call: Call, ours: Tenant) -> None:
    answer = call("GET", KNOWN)

    assert answer.status_code == 200
    assert answer.json() == {"project": str(ours.project.id), "key": ours.key_id, "user": None}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Token abc",
        "Bearer jp_live_",
        "Bearer null",
        "Bearer jp_live_abcdefghijkl_" + "a" * 38,
        "Bearer jp_live_abcdefghijkl_" + "a" * 5000,
        "Bearer \x00",
        "Bearer é",
        "Bearer jp_live_abcdefghijkl_" + "a" * 38 + " and more",
        "Bearer ' or 1=1 --",
    ],
)
def test_what_is_no_valid_key_is_refused(client: Client, header: str) -> None:
    answer = client.get(KNOWN, headers={"Authorization": header})

    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="jobplatform"')
    assert answer.json()["code"] == "invalid_api_key"


@pytest.mark.django_db
@pytest.mark.parametrize("header", ["Bearer x", "Basic x", "Bearer jp_live_abcdefghijkl_" + "a" * 38])
def test_a_person_is_shown_the_refusal_of_a_key_as_a_page(client: Client, header: str) -> None:
    answer = client.get(KNOWN, headers={"Authorization": header, "Accept": "text/html"})

    assert answer.status_code == 401
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "invalid_api_key" in answer.content.decode()


@pytest.mark.django_db
def test_without_a_key_one_is_asked_for(client: Client) -> None:
    answer = client.get(KNOWN)

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_an_unknown_id_and_a_wrong_secret_get_the_same_answer(call: Call, ours: Tenant) -> None:
    answers = [
        call("GET", KNOWN, key=forged(ours.text, key_id="a" * 12)),
        call("GET", KNOWN, key=forged(ours.text, secret="a" * 32)),
        call("GET", KNOWN, key=ours.text[:-1] + ("a" if ours.text[-1] != "a" else "b")),
        call("GET", KNOWN, key=ours.text[:-6] + "000000"),
    ]

    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert len({str(sorted(answer.headers.items())) for answer in answers}) == 1


def test_an_unknown_id_and_a_wrong_secret_take_the_same_time(ours: Tenant) -> None:
    """Medians of alternating calls; a difference of a tenth of a call would be ten times what an HMAC takes."""
    candidates = {
        "unknown": [forged(ours.text, key_id=keys.generate().key_id) for _ in range(50)],
        "wrong": [forged(ours.text, secret=keys.generate().text[21:53]) for _ in range(50)],
    }

    def medians() -> dict[str, float]:
        took: dict[str, list[float]] = {"unknown": [], "wrong": []}
        for n in range(200):
            for name, texts in candidates.items():
                began = time.perf_counter()
                with pytest.raises(Problem):
                    authentication.credential_of(texts[n % 50])
                took[name].append(time.perf_counter() - began)
        return {name: statistics.median(times) for name, times in took.items()}

    differences = []
    for _ in range(4):  # a busy machine may disturb one measurement, not each
        took = medians()
        differences.append(abs(took["unknown"] - took["wrong"]) / took["wrong"])
        if differences[-1] < 0.1:
            return
    pytest.fail(f"The medians differ by {differences}")


def test_a_revoked_key_is_refused_by_the_very_next_request(call: Call, ours: Tenant) -> None:
    assert call("GET", KNOWN).status_code == 200

    services.revoke_key(project_id=ours.project.id, key_id=ours.key_id, actor="system")

    answer = call("GET", KNOWN)
    assert (answer.status_code, answer.json()["code"]) == (401, "api_key_revoked")
    wrong = call("GET", KNOWN, key=forged(ours.text, secret="a" * 32))
    assert wrong.json()["code"] == "invalid_api_key"  # that it was revoked is told to its holder only


def test_a_key_expires_by_the_clock_of_the_platform(call: Call, ours: Tenant) -> None:
    issued = services.issue_key(
        project_id=ours.project.id,
        name="short",
        scopes_asked=["jobs:read"],
        actor="system",
        expires_at=datetime.now(UTC) + timedelta(hours=24),
    )
    move_clock(timedelta(hours=23, minutes=59))
    assert call("GET", KNOWN, key=issued.text).status_code == 200
    move_clock(timedelta(hours=24, minutes=1))

    answer = call("GET", KNOWN, key=issued.text)

    assert (answer.status_code, answer.json()["code"]) == (401, "api_key_expired")


def test_a_hash_is_worth_nothing_in_another_row(call: Call, ours: Tenant, theirs: Tenant) -> None:
    ApiKey.objects.filter(key_id=ours.key_id).update(hash=ApiKey.objects.get(key_id=theirs.key_id).hash)

    assert call("GET", KNOWN).status_code == 401
    assert call("GET", KNOWN, key=forged(theirs.text, key_id=ours.key_id)).status_code == 401


def test_another_pepper_opens_nothing(call: Call, settings: Any) -> None:
    settings.API_KEY_PEPPER = "another"

    assert call("GET", KNOWN).status_code == 401


def test_a_scope_that_the_key_lacks_is_named(call: Call, ours: Tenant) -> None:
    reader = services.issue_key(project_id=ours.project.id, name="r", scopes_asked=["jobs:read"], actor="system")

    assert call("GET", KNOWN, key=reader.text).status_code == 200
    answer = call("POST", KNOWN, {}, key=reader.text)
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert "jobs:write" in answer.json()["detail"]


# ------------------------------------------------------------------------------------------------ at rest
def test_nothing_at_rest_holds_the_text_of_a_key(call: Call, ours: Tenant) -> None:
    made = call("POST", "/api/v1/keys", {"name": "k", "scopes": ["jobs:read"]}, Idempotency_Key="k1").json()["key"]
    call("POST", "/api/v1/projects", {"name": "p"}, Idempotency_Key="k1")
    call("GET", KNOWN, key=made)
    secrets = [ours.text[21:], made[21:]]
    with connection.cursor() as cursor:
        cursor.execute(
            "select table_name from information_schema.tables"
            " where table_schema = 'public' and table_type = 'BASE TABLE'"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"select coalesce(string_agg(t::text, e'\\n'), '') from \"{table}\" t")
            rows = cursor.fetchone()[0]
            for secret in secrets:
                assert secret not in rows, table
                assert secret.encode().hex() not in rows, table
                assert hashlib.sha256(secret.encode()).hexdigest() not in rows, table


def test_what_is_kept_is_an_hmac_under_the_pepper(ours: Tenant) -> None:
    kept = bytes(ApiKey.objects.get(key_id=ours.key_id).hash)

    assert kept == keys.digest(ours.text, django_settings.API_KEY_PEPPER)
    assert kept != hashlib.sha256(ours.text.encode()).digest()


# ------------------------------------------------------------------------------------------------ outside of a test's
@pytest.fixture
def standing(committed: None) -> Tenant:
    """A tenant whose rows are committed, as those of a real one."""
    return make_tenant("Standing")


def test_a_key_is_one_prepared_statement_and_one_round_trip(standing: Tenant) -> None:
    client = Client()
    client.get(KNOWN, headers=standing.headers)
    with CaptureQueriesContext(connection) as queries:
        client.get(KNOWN, headers=standing.headers)
    with connection.cursor() as cursor:
        cursor.execute(
            "select generic_plans, custom_plans from pg_prepared_statements where name = %s", ["projects_apikey_find"]
        )
        plans = cursor.fetchone()

    assert list(queries) == []  # it goes past Django's cursors
    assert plans == (2, 0)


def test_its_plan_is_one_look_into_an_index(standing: Tenant) -> None:
    with connection.cursor() as cursor:
        cursor.execute("set enable_seqscan = off")
        cursor.execute("prepare find (text) as " + authentication._FIND._sql)
        cursor.execute("explain (format text) execute find ('x')")
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("deallocate find")
        cursor.execute("reset enable_seqscan")

    assert plan.startswith("Index Scan using projects_apikey_")
    assert plan.count("Scan") == 1


def test_its_last_use_is_noted_once_a_minute(standing: Tenant) -> None:
    def noted() -> Any:
        return ApiKey.objects.get(key_id=standing.key_id).last_used_at

    Client().get(KNOWN, headers=standing.headers)
    first = noted()
    Client().get(KNOWN, headers=standing.headers)
    assert noted() == first
    ApiKey.objects.filter(key_id=standing.key_id).update(last_used_at=datetime.now(UTC) - timedelta(seconds=61))

    Client().get(KNOWN, headers=standing.headers)

    assert noted() > first


def test_a_restart_of_the_database_sends_nobody_away(standing: Tenant) -> None:
    client = Client(raise_request_exception=False)
    client.get(KNOWN, headers=standing.headers)
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as killer:
        killer.execute("select pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])

    assert client.get(KNOWN, headers=standing.headers).status_code == 200


def test_a_database_that_takes_no_writes_still_answers(standing: Tenant, caplog: pytest.LogCaptureFixture) -> None:
    with connection.cursor() as cursor:
        cursor.execute("set default_transaction_read_only = on")
    with caplog.at_level(logging.WARNING, authentication.__name__):
        answer = Client().get(KNOWN, headers=standing.headers)
    with connection.cursor() as cursor:
        cursor.execute("set default_transaction_read_only = off")

    assert answer.status_code == 200
    assert "could not be noted" in caplog.text


def test_a_key_that_somebody_else_is_changing_does_not_wait(standing: Tenant) -> None:
    with psycopg.connect(**connection.get_connection_params()) as other:
        other.execute("select 1 from projects_apikey where key_id = %s for update", [standing.key_id])
        with connection.cursor() as cursor:
            cursor.execute("set lock_timeout = '1s'")
        answer = Client().get(KNOWN, headers=standing.headers)
        with connection.cursor() as cursor:
            cursor.execute("reset lock_timeout")

    assert answer.status_code == 200
    assert ApiKey.objects.get(key_id=standing.key_id).last_used_at is None


# ------------------------------------------------------------------------------------------------ people
Person = Callable[..., Client]


@pytest.fixture
def person(db: None) -> Person:
    """A logged-in person: `person(staff=True, superuser=False, permissions=[...])`."""

    def log_in(*, staff: bool = True, superuser: bool = False, permissions: tuple[str, ...] = ()) -> Client:
        user = get_user_model().objects.create_user(
            f"user{get_user_model().objects.count()}", is_staff=staff, is_superuser=superuser
        )
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client(enforce_csrf_checks=True, raise_request_exception=False)
        client.force_login(user)
        return client

    return log_in


def token_of(client: Client) -> str:
    """The CSRF token of a page that the person looked at."""
    client.get("/api/v1/projects", headers={"Accept": "text/html"})
    return client.cookies["csrftoken"].value


def test_a_person_of_the_staff_looks_around_in_the_first_project(person: Person, ours: Tenant, theirs: Tenant) -> None:
    answer = person(superuser=True).get(KNOWN)

    assert answer.status_code == 200
    assert answer.json()["project"] == str(ours.project.id)
    assert answer.json()["user"] is not None


@pytest.mark.parametrize("how", ["query by id", "query by slug", "header by id", "header by slug"])
def test_a_person_chooses_the_project(person: Person, ours: Tenant, theirs: Tenant, how: str) -> None:
    name = str(theirs.project.id) if how.endswith("id") else theirs.project.slug
    query, headers = ({"project": name}, {}) if how.startswith("query") else ({}, {"X-Project": name})

    answer = person(superuser=True).get(KNOWN, query, headers=headers)

    assert answer.json()["project"] == str(theirs.project.id)


def test_a_project_that_is_none_is_refused(person: Person, ours: Tenant) -> None:
    for name in ("nothing", str(authentication.NO_PROJECT), "'; drop table projects_project; --"):
        answer = person(superuser=True).get(KNOWN, {"project": name})
        assert (answer.status_code, answer.json()["code"]) == (400, "unknown_project")


def test_to_change_something_the_project_is_named(person: Person, ours: Tenant, theirs: Tenant) -> None:
    client = person(superuser=True)
    headers = {"X-CSRFToken": token_of(client)}

    unnamed = client.post(KNOWN, {}, content_type="application/json", headers=headers)
    named = client.post(f"{KNOWN}?project={ours.project.slug}", {}, content_type="application/json", headers=headers)

    assert (unnamed.status_code, unnamed.json()["code"]) == (400, "project_required")
    assert named.status_code == 201


def test_while_there_is_no_project_there_is_nothing_to_see(person: Person) -> None:
    assert person(superuser=True).get(KNOWN).json()["project"] == str(authentication.NO_PROJECT)


@pytest.mark.parametrize("headers", [{}, {"X-CSRFToken": "a" * 32}, {"X-CSRFToken": "\x00"}])
def test_a_session_without_a_token_changes_nothing(person: Person, ours: Tenant, headers: dict[str, str]) -> None:
    client = person(superuser=True)
    token_of(client)

    answer = client.post(KNOWN, {}, content_type="application/json", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")


def test_a_form_of_another_site_changes_nothing(person: Person, ours: Tenant) -> None:
    client = person(superuser=True)
    token = token_of(client)

    for content_type in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"):
        answer = client.generic("POST", KNOWN, f"csrfmiddlewaretoken={token}", content_type=content_type)
        assert answer.status_code == 415
    origin = {"X-CSRFToken": token, "Origin": "https://evil.example"}
    assert client.post(KNOWN, {}, content_type="application/json", headers=origin).status_code == 403


def test_a_key_needs_no_token(call: Call) -> None:
    assert call("POST", KNOWN, {}).status_code == 201


def test_a_key_goes_before_a_session(person: Person, ours: Tenant, theirs: Tenant) -> None:
    answer = person(superuser=True).get(KNOWN, headers=theirs.headers)

    assert answer.json() == {"project": str(theirs.project.id), "key": theirs.key_id, "user": None}


def test_who_is_not_of_the_staff_is_nobody(person: Person, ours: Tenant) -> None:
    assert person(staff=False, superuser=True).get(KNOWN).status_code == 401


@pytest.mark.parametrize(
    "permissions, reads, writes",
    [((), 403, 403), (("view_project",), 200, 403), (("operate_project",), 200, 201)],
)
def test_a_person_may_what_the_permissions_say(
    person: Person, ours: Tenant, permissions: tuple[str, ...], reads: int, writes: int
) -> None:
    client = person(permissions=permissions)
    headers = {"X-CSRFToken": token_of(client)} if reads == 200 else {}

    assert client.get(KNOWN).status_code == reads
    assert client.post(KNOWN, {}, content_type="application/json", headers=headers).status_code == writes


def test_scopes_of_a_key_are_all_that_it_was_given(ours: Tenant) -> None:
    assert authentication.credential_of(ours.text).scopes == scopes.ALL


def test_the_actor_is_written_as_the_audit_record_wants_it(ours: Tenant) -> None:
    assert authentication.credential_of(ours.text).actor == f"key:{ours.key_id}"
    assert authentication.Credential(ours.project.id, "", frozenset(), 7, "ann").actor == "user:ann"
    assert Project.objects.count() == 1


@pytest.mark.parametrize(
    ("permissions", "held"),
    [(("operate_project",), False), (("operate_project", "add_apikey", "add_project"), True)],
)
def test_who_may_not_issue_keys_in_the_admin_may_not_by_the_api(
    person: Person, ours: Tenant, permissions: tuple[str, ...], held: bool
) -> None:
    client = person(permissions=permissions)
    headers = {"X-CSRFToken": token_of(client)}

    for path, body in (("keys", {"name": "k", "scopes": ["jobs:read"]}), ("projects", {"name": "Another"})):
        answer = client.post(
            f"/api/v1/{path}?project={ours.project.id}", body, content_type="application/json", headers=headers
        )
        assert answer.status_code == (201 if held else 403), answer.content
