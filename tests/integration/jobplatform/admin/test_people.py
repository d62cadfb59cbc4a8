"""Who gets in, and what the two groups of daily work may do."""

from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from events.models import AuditRecord
from jobplatform.admin import sign_in
from jobplatform.admin.people import set_up_groups

LOGIN = "/admin/login/"
PASSWORD = "correct horse battery"

pytestmark = pytest.mark.django_db


def permissions(group: str) -> set[str]:
    return set(Group.objects.get(name=group).permissions.values_list("codename", flat=True))


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """What takes a second per password in production, on purpose, would take a minute here."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def olga() -> User:
    set_up_groups()
    user = User.objects.create_user("olga", password=PASSWORD, is_staff=True)
    user.groups.set([Group.objects.get(name="operators")])
    return user


# ------------------------------------------------------------------------------------------------ groups
def test_viewers_only_look(olga: User) -> None:
    found = permissions("viewers")

    assert {"view_job", "view_attempt", "view_event", "view_auditrecord", "view_message", "view_project"} <= found
    assert {name for name in found if not name.startswith("view_")} == set()


def test_operators_act_too(olga: User) -> None:
    found = permissions("operators")

    assert permissions("viewers") < found
    assert {"cancel_job", "retry_job", "edit_payload", "change_shelf", "change_periodictask"} <= found
    assert {name for name in found if name.startswith("delete_")} == set()


def test_nobody_of_the_groups_touches_people_or_what_the_platform_writes(olga: User) -> None:
    found = permissions("operators")

    assert not found & {
        "view_user",
        "change_user",
        "add_user",
        "change_job",
        "add_job",
        "change_event",
        "change_attempt",
    }


def test_groups_are_set_up_again_without_losing_what_was_added(olga: User, capsys: pytest.CaptureFixture[str]) -> None:
    from django.contrib.auth.models import Permission

    group = Group.objects.get(name="viewers")
    group.permissions.add(Permission.objects.get(codename="add_project"))
    group.permissions.remove(Permission.objects.get(codename="view_job"))

    call_command("setup_groups")

    assert {"view_job", "add_project"} <= permissions("viewers")
    assert "operators: " in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------ signing in
def sign(client: Client, name: str = "olga", password: str = PASSWORD, **more: Any) -> Any:
    return client.post(LOGIN, {"username": name, "password": password}, **more)


def test_an_operator_signs_in_and_lands_on_the_front_page(client: Client, olga: User) -> None:
    answer = sign(client)

    assert (answer.status_code, answer.headers["Location"]) == (302, reverse("admin:index"))
    assert client.get("/admin/").status_code == 200


def test_the_session_cookie_is_kept_from_scripts(client: Client, olga: User) -> None:
    cookie = sign(client).cookies[settings.SESSION_COOKIE_NAME]

    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert bool(cookie["secure"]) == settings.HTTPS


def test_a_failure_is_recorded(client: Client, olga: User) -> None:
    answer = sign(client, password="wrong")

    assert answer.status_code == 200
    record = AuditRecord.objects.get(action="login.failed")
    assert (record.subject_type, record.subject_id, record.data) == ("login", "127.0.0.1", {"name": "olga"})
    assert "wrong" not in str(record.data)


def test_after_too_many_failures_the_right_password_does_not_help(client: Client, olga: User) -> None:
    for _ in range(sign_in.MOST_PER_NAME):
        sign(client, password="wrong")

    assert "Too many failures" in sign(client).content.decode()
    assert AuditRecord.objects.filter(action="login.failed").count() == sign_in.MOST_PER_NAME


def test_another_address_is_not_locked_out(client: Client, olga: User) -> None:
    for _ in range(sign_in.MOST_PER_NAME):
        sign(client, password="wrong")

    assert sign(client, REMOTE_ADDR="127.0.0.2").status_code == 302


def test_behind_a_proxy_an_address_is_the_one_that_the_proxy_says(client: Client, olga: User, settings: Any) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    for number in range(sign_in.MOST_PER_NAME):
        sign(client, password="wrong", headers={"X-Forwarded-For": f"10.0.0.{number}, 192.0.2.1"})

    assert "Too many failures" in sign(client, headers={"X-Forwarded-For": "192.0.2.1"}).content.decode()
    assert sign(client, headers={"X-Forwarded-For": "192.0.2.1, 192.0.2.2"}).status_code == 302


@pytest.mark.parametrize(("proxied", "said"), [(False, "192.0.2.1"), (True, "no address"), (True, "")])
def test_what_no_proxy_said_is_not_believed(settings: Any, *, proxied: bool, said: str) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if proxied else None

    assert sign_in.address_of({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": said}) == "127.0.0.1"


# ------------------------------------------------------------------------------------------------ what is done to them
@pytest.fixture
def root() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def record(action: str) -> AuditRecord:
    found = AuditRecord.objects.get(action=action)
    assert found.actor == "user:root"
    return found


def test_who_becomes_what_is_recorded(root: Client, olga: User) -> None:
    group = Group.objects.get(name="viewers")
    given = {"username": "olga", "is_active": "on", "is_staff": "on", "is_superuser": "on", "groups": [group.pk]}
    given |= {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}

    answer = root.post(f"/admin/auth/user/{olga.pk}/change/", given)

    assert answer.status_code == 302, answer.context["adminform"].form.errors
    data = record("user.change").data
    assert (data["name"], data["before"]["is_superuser"], data["after"]["is_superuser"]) == ("olga", False, True)
    assert (data["before"]["groups"], data["after"]["groups"]) == (["operators"], ["viewers"])


def test_a_new_password_is_recorded_and_not_shown(root: Client, olga: User) -> None:
    given = {"password1": "a new battery", "password2": "a new battery", "usable_password": "true"}

    answer = root.post(f"/admin/auth/user/{olga.pk}/password/", given)

    assert answer.status_code == 302
    data = record("user.change").data
    assert data == {"name": "olga", "before": {"password": "(not shown)"}, "after": {"password": "(not shown)"}}


def test_who_comes_and_goes_is_recorded(root: Client) -> None:
    given = {"username": "eve", "password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
    root.post("/admin/auth/user/add/", given)
    eve = User.objects.get(username="eve")
    root.post(f"/admin/auth/user/{eve.pk}/delete/", {"post": "yes"})

    assert not User.objects.filter(username="eve").exists()
    assert PASSWORD not in str(record("user.add").data)
    assert record("user.delete").data == {"name": "eve"}


def test_what_a_group_may_do_is_recorded(root: Client, olga: User) -> None:
    group = Group.objects.get(name="viewers")

    root.post(f"/admin/auth/group/{group.pk}/change/", {"name": "viewers", "permissions": []})

    data = record("group.change").data
    assert any("view job" in permission for permission in data["before"]["permissions"])
    assert data["after"]["permissions"] == []


def test_an_address_that_tries_many_names_is_locked_out(
    client: Client, olga: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in, "MOST_PER_ADDRESS", 5)
    for number in range(5):
        sign(client, name=f"guess-{number}", password="wrong")

    assert "Too many failures" in sign(client).content.decode()


def test_the_limit_forgets(client: Client, olga: User, monkeypatch: pytest.MonkeyPatch) -> None:
    import datetime as dt

    for _ in range(sign_in.MOST_PER_NAME):
        sign(client, password="wrong")
    monkeypatch.setattr(sign_in, "WINDOW", dt.timedelta(0))

    assert sign(client).status_code == 302


@pytest.mark.parametrize("name", ["", "x" * 300, "a\u0000b", "<x-evil>"])
def test_odd_names_are_refused_quietly(client: Client, olga: User, name: str) -> None:
    assert sign(client, name=name).status_code == 200


def test_staff_that_was_locked_out_of_its_account_does_not_get_in(client: Client, olga: User) -> None:
    User.objects.update(is_active=False)

    assert sign(client).status_code == 200


# ------------------------------------------------------------------------------------------------ sidebar, front page
def test_the_sidebar_leads_to_the_other_places(client: Client, olga: User, settings: Any) -> None:
    settings.FLOWER_URL = "http://flower.example:5555"
    client.force_login(olga)

    page = client.get("/admin/").content.decode()

    assert 'href="http://flower.example:5555"' in page
    assert 'href="/api/v1/docs"' in page
    assert "/admin/ingestion/message/" in page


def test_the_sidebar_hides_what_is_not_there(client: Client, olga: User, settings: Any) -> None:
    settings.FLOWER_URL = ""
    client.force_login(olga)

    page = client.get("/admin/").content.decode()

    assert "Flower" not in page
    assert "/admin/auth/user/" not in page


def test_people_are_managed_by_superusers(client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))

    assert "/admin/auth/user/" in client.get("/admin/").content.decode()
    for path in ("user/", "user/add/", "group/", "group/add/"):
        assert client.get(f"/admin/auth/{path}").status_code == 200, path
