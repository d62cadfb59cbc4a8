"""What a job did may be large: its events and attempts come in pages of bounded size."""

import pytest
from django.db import connection

from events import log
from events.log import NewEvent
from jobplatform.api.walks import PAGE_BYTES
from tests.integration.jobs.conftest import JOBS, Make
from tests.integration.jobs.test_api_read import pages
from tests.integration.projects.conftest import Call, Tenant

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kinds")]


@pytest.mark.parametrize("of", ["attempts", "events"])
def test_a_page_of_what_a_job_did_carries_no_more_than_its_bytes(call: Call, make: Make, ours: Tenant, of: str) -> None:
    job = make()
    with connection.cursor() as cur:
        for number in range(1, 8):
            cur.execute(
                "insert into jobs_attempt (job_id, project_id, started_at, ended_at, claim_no, attempt, stage, outcome, log)"
                " values (%s, %s, now(), now(), %s, 1, 'process', 'failed',"
                " jsonb_build_array(jsonb_build_object('message', repeat('x', 1048576))))",
                (job, ours.project.id, number),
            )
    large = {"kind": "a.b", "output": "x" * 2**20}
    log.append([NewEvent(ours.project.id, "job.processed", job, seq, large) for seq in range(2, 9)])

    shown = [page["results"] for page in pages(call, f"{JOBS}/{job}/{of}?limit=100")]

    assert max(len(page) for page in shown) <= PAGE_BYTES // 2**20 + 2
    numbers = [item["number" if of == "attempts" else "seq"] for page in shown for item in page]
    assert numbers == list(range(1, 8 if of == "attempts" else 9))
