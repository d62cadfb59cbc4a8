"""`manage.py provision_demo`: a project and a key to begin with."""

import io
import json
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command

from projects import authentication, scopes, services
from projects.models import ApiKey, Project

pytestmark = pytest.mark.django_db


def provision() -> dict[str, str]:
    out = io.StringIO()
    call_command("provision_demo", stdout=out)
    printed: dict[str, str] = json.loads(out.getvalue())
    return printed


def test_it_prints_a_project_and_a_key_with_all_scopes() -> None:
    printed = provision()

    credential = authentication.credential_of(printed["api_key"])
    assert set(printed) == {"project_id", "api_key"}
    assert str(credential.project_id) == printed["project_id"] == str(Project.objects.get(slug="demo").id)
    assert credential.scopes == scopes.ALL


def test_a_second_time_it_finds_the_project_and_gives_another_key() -> None:
    first, second = provision(), provision()

    assert first["project_id"] == second["project_id"]
    assert first["api_key"] != second["api_key"]
    for printed in (first, second):
        assert str(authentication.credential_of(printed["api_key"]).project_id) == first["project_id"]


def test_the_superuser_has_the_password_of_the_settings(settings: Any) -> None:
    settings.ADMIN_USER, settings.ADMIN_PASSWORD = "admin", "first"
    provision()
    settings.ADMIN_PASSWORD = "second"
    provision()

    user = get_user_model().objects.get(username="admin")
    assert user.is_superuser
    assert user.check_password("second")


def test_without_a_name_there_is_no_superuser(settings: Any) -> None:
    settings.ADMIN_USER, settings.ADMIN_PASSWORD = "", ""

    provision()

    assert get_user_model().objects.count() == 0


def test_a_good_key_is_kept_and_any_other_is_replaced(settings: Any) -> None:
    first = provision()["api_key"]
    settings.DEMO_API_KEY = first
    assert provision()["api_key"] == first
    assert ApiKey.objects.count() == 1

    key = ApiKey.objects.get()
    services.revoke_key(project_id=key.project_id, key_id=key.key_id, actor="tests")
    assert provision()["api_key"] != first
    settings.DEMO_API_KEY = "jp_live_nonsense"
    assert provision()["api_key"].startswith("jp_live_")
    assert ApiKey.objects.count() == 3
