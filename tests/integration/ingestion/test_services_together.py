"""Messages that are received at the same time."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from uuid import UUID

import pytest
from django.db import connections
from uuid_utils.compat import uuid7

from ingestion import services
from ingestion.errors import CompanyOfAnotherProject
from ingestion.models import Company, Message


@pytest.mark.usefixtures("committed")
def test_two_projects_that_meet_at_a_new_company_end_with_one_owner() -> None:
    projects, bodies, both = [uuid7(), uuid7()], [b'{"a": 1}', b'{"a": 2}'], Barrier(2, timeout=20)

    def post(project_id: UUID, body: bytes) -> bool:
        both.wait()
        try:
            return services.receive(
                project_id=project_id,
                company_id=UUID(int=1),
                message_id=UUID(int=2),
                message_time=dt.datetime(2026, 11, 22, 5, tzinfo=dt.UTC),
                body=body,
            ).created
        except CompanyOfAnotherProject:
            return False
        finally:
            connections.close_all()

    for _ in range(5):
        Company.objects.all().delete()
        Message.objects.all().delete()
        with ThreadPoolExecutor(2) as pool:
            created = list(pool.map(post, projects, bodies))

        assert sorted(created) == [False, True]
        owner = projects[created.index(True)]
        assert (Company.objects.get().project_id, Message.objects.get().project_id) == (owner, owner)
