import datetime as dt
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from ingestion.models import Message, first_id_at, moment_of, object_key

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
moments = st.integers(0, 253_402_214_400 * 10**6).map(lambda since: EPOCH + dt.timedelta(microseconds=since))


@given(moments, moments)
def test_a_range_of_time_is_a_range_of_ids(received: dt.datetime, bound: dt.datetime) -> None:
    received = received.replace(microsecond=received.microsecond // 1000 * 1000)
    milliseconds = (received - EPOCH) // dt.timedelta(milliseconds=1)
    message = UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62) | 12345)

    assert moment_of(message) == received
    assert (message >= first_id_at(bound)) == (received >= bound)


def test_a_time_before_all_messages_is_before_all_ids() -> None:
    assert first_id_at(dt.datetime(1, 1, 1, tzinfo=dt.UTC)) == UUID(int=0)


def test_a_new_id_tells_when_it_was_made() -> None:
    before = dt.datetime.now(dt.UTC)
    made = moment_of(uuid7())

    assert dt.timedelta(milliseconds=-1) < made - before < dt.timedelta(seconds=10)


def test_the_key_is_company_and_message() -> None:
    company, message = UUID("0192B3C4-8A1F-7C3E-9D2A-5F6E7D8C9B0A"), UUID(int=1)

    assert object_key(company, message) == (
        "0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0a/00000000-0000-0000-0000-000000000001.json"
    )
    assert Message(company_id=company, message_id=message).object_key == object_key(company, message)


def test_a_message_and_its_job_have_one_id() -> None:
    id_ = uuid7()

    assert Message(id=id_).job_id == id_
