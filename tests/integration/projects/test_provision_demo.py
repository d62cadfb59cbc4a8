"""`manage.py provision_demo`: a project and a key to begin with."""

import io
import json
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command

from projects import authentication, scopes
from projects.models import Project

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
