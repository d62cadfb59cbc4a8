import pytest

from ingestion.states import ENDED_WITHOUT_OBJECT, MessageStatus, job_status_of, status_of
from jobs.models import RARE
from jobs.states import ENDED, Status


@pytest.mark.parametrize("status", Status)
def test_every_status_of_a_job_says_where_its_message_stands(status: Status) -> None:
    found = status_of(status, stored=False)

    assert (found is MessageStatus.RECEIVED) == (status not in ENDED)


def test_a_message_whose_job_is_gone_stands_where_its_object_says() -> None:
    assert status_of(None, stored=True) is MessageStatus.PROCESSED
    assert status_of(None, stored=False) is MessageStatus.RECEIVED


def test_statuses_that_lists_read_from_the_jobs_are_rare_there() -> None:
    assert set(ENDED_WITHOUT_OBJECT) <= set(RARE)
    for status in (MessageStatus.FAILED, MessageStatus.REJECTED, MessageStatus.CANCELLED):
        assert job_status_of(status) in ENDED_WITHOUT_OBJECT
        assert status_of(job_status_of(status), stored=False) is status
