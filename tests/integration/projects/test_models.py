"""What the tables themselves refuse, whoever writes."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, connections, transaction

from projects import services
from projects.errors import SlugTaken
from projects.models import ApiKey, Project
from tests.integration.projects.conftest import Tenant


@pytest.mark.django_db
@pytest.mark.parametrize("weight", [0, 101, -1])
def test_a_weight_out_of_range(weight: int) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Project.objects.create(name="a", slug="a", weight=weight)


def test_a_key_id_of_another_form(ours: Tenant) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        ApiKey.objects.create(key_id="ABC", project=ours.project, name="x", hash=b"x" * 32, scopes=[], created_by="x")


def test_deleting_a_project_that_has_keys(ours: Tenant) -> None:
    with pytest.raises(IntegrityError):
        ours.project.delete()


def test_a_slug_that_another_takes_at_the_same_time(committed: None) -> None:
    def create(name: str) -> str:
        try:
            services.create_project(name=name, slug="shop", actor="system")
        except SlugTaken:
            return "taken"
        else:
            return "created"
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert Counter(pool.map(create, "abcd")) == {"created": 1, "taken": 3}
