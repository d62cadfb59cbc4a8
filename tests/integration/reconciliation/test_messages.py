"""Messages about alarms: mailed to a real server of mail, published to topics of moto's server of SNS."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import boto3
import pytest
from moto.server import ThreadedMotoServer
from uuid_utils.compat import uuid7

from jobs import registry, services, store
from jobs.models import Job
from jobs.services import JobRequest
from jobs.states import PLATFORM
from reconciliation.models import Alarm
from reconciliation.services.alarms import NOTIFY
from tests.contracts.deliveries import Worker, crashed_before_commit
from tests.smtp import Mailbox


@pytest.fixture(autouse=True)
def _alone(committed_alone: None) -> None:
    """A database of its own."""


@pytest.fixture
def alarm() -> Alarm:
    return Alarm.objects.create(
        id=uuid7(), name="Queue waits", measure="queue_age", subject="chaîne", severity="page", threshold=100,
        state="firing", value=120, worst=130, since=store.now(),
    )  # fmt: skip


def ask(alarm: Alarm, channel: str, to: str, what: str = "fired") -> UUID:
    """A job that tells somebody."""
    said = {"what": what, "channel": channel, "to": to, "alarms": [str(alarm.id)]}
    return services.submit_many(project_id=PLATFORM, requests=[JobRequest(NOTIFY, said)], accepted=True)[0].id


def work() -> None:
    worker = Worker(registry.get(NOTIFY), "one")
    worker.run(worker.claim())


def state(job_id: UUID) -> tuple[str, str]:
    job = Job.objects.get(id=job_id)
    return job.status, (job.error or {}).get("code", "")


def test_an_alarm_is_mailed_and_what_ends_it_stands_in_the_same_thread(
    alarm: Alarm, smtp: Mailbox, settings: Any
) -> None:
    settings.EMAIL_URL, settings.EMAIL_FROM = smtp.url, "jobs@example.com"
    jobs = [ask(alarm, "mail", "ada@example.com")]
    work()
    jobs.append(ask(alarm, "mail", "ada@example.com", "resolved"))
    work()

    fired, resolved = smtp.messages
    assert [state(job) for job in jobs] == [("processed", "")] * 2
    assert (fired["From"], fired["To"]) == ("jobs@example.com", "ada@example.com")
    assert fired["Subject"] == "[page] FIRING: Queue waits (chaîne)"
    assert "chaîne: 120 s, worst 130, threshold 100" in fired.get_content()
    assert fired["Auto-Submitted"] == "auto-generated"
    assert resolved["Subject"] == "[page] Resolved: Queue waits (chaîne)"
    assert resolved["In-Reply-To"] == fired["Message-ID"] != resolved["Message-ID"]


def test_a_mail_that_leaves_a_second_time_is_known_as_the_first(alarm: Alarm, smtp: Mailbox, settings: Any) -> None:
    settings.EMAIL_URL = smtp.url
    ask(alarm, "mail", "ada@example.com", "resolved")
    crashed_before_commit(registry.get(NOTIFY))

    first, second = smtp.messages
    assert first["Message-ID"] == second["Message-ID"]


def test_a_server_that_will_take_it_later_is_asked_again(alarm: Alarm, smtp: Mailbox, settings: Any) -> None:
    settings.EMAIL_URL = smtp.url
    smtp.answers = ["451 not now"]
    job = ask(alarm, "mail", "ada@example.com")
    work()
    assert state(job) == ("queued", "not_told")
    work()
    assert state(job)[0] == "processed"
    assert len(smtp.messages) == 1


def test_a_server_that_is_away_is_asked_again(alarm: Alarm, smtp: Mailbox, settings: Any) -> None:
    settings.EMAIL_URL = smtp.url
    smtp.stop()
    job = ask(alarm, "mail", "ada@example.com")
    work()
    assert state(job) == ("queued", "not_told")


@pytest.mark.parametrize(
    ("url", "answers"), [("", []), ("http://mail.example", []), (None, ["550 nobody of this name"])]
)
def test_what_another_try_does_not_mend_is_a_dead_letter_at_once(
    alarm: Alarm, smtp: Mailbox, settings: Any, url: str | None, answers: list[str]
) -> None:
    settings.EMAIL_URL = smtp.url if url is None else url
    smtp.answers = answers
    job = ask(alarm, "mail", "ada@example.com")
    work()
    assert state(job) == ("rejected", "untellable" if url is None else "no_mail")
    assert smtp.messages == []


def test_names_of_rules_add_no_headers(alarm: Alarm, smtp: Mailbox, settings: Any) -> None:
    settings.EMAIL_URL = smtp.url
    Alarm.objects.update(name="Waits\r\nBcc: eve@example.com")
    job = ask(alarm, "mail", "ada@example.com")
    work()
    assert state(job)[0] == "processed"
    (message,) = smtp.messages
    assert message["Bcc"] is None


# ---------------------------------------------------------------------------------------------- SNS


@pytest.fixture
def sns(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """moto's server as the environment names it; gives (client of SNS, client of SQS)."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    given = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "eu-west-1"}
    for name, value in {**given, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
        monkeypatch.setenv(name, value)
    try:
        yield boto3.client("sns"), boto3.client("sqs")
    finally:
        server.stop()


def topic_of(sns: Any, name: str) -> tuple[str, str]:
    """A topic and a queue that gets what is published: (ARN, URL)."""
    topics, queues = sns
    fifo = name.endswith(".fifo")
    topic = topics.create_topic(Name=name, Attributes={"FifoTopic": "true"} if fifo else {})["TopicArn"]
    url = queues.create_queue(QueueName=name, Attributes={"FifoQueue": "true"} if fifo else {})["QueueUrl"]
    queue = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topics.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    return topic, url


def received(sns: Any, url: str) -> list[dict[str, Any]]:
    found = sns[1].receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(message["Body"]) for message in found]


def test_an_alarm_is_published_to_a_topic(alarm: Alarm, sns: Any) -> None:
    topic, url = topic_of(sns, "ops")
    job = ask(alarm, "sns", topic)
    work()

    assert state(job) == ("processed", "")
    (message,) = received(sns, url)
    assert message["Subject"] == "[page] FIRING: Queue waits (cha?ne)"
    assert {name: one["Value"] for name, one in message["MessageAttributes"].items()} == {
        "state": "firing", "severity": "page", "rule": "Queue waits",
    }  # fmt: skip
    (told,) = json.loads(message["Message"])["alarms"]
    assert (told["id"], told["subject"], told["value"]) == (str(alarm.id), "chaîne", 120)


def test_a_topic_of_the_sort_fifo_gets_what_leaves_twice_once(alarm: Alarm, sns: Any) -> None:
    topic, url = topic_of(sns, "ops.fifo")
    ask(alarm, "sns", topic)
    crashed_before_commit(registry.get(NOTIFY))
    assert len(received(sns, url)) == 1


def test_a_topic_that_is_not_there_makes_a_dead_letter(alarm: Alarm, sns: Any) -> None:
    job = ask(alarm, "sns", "arn:aws:sns:eu-west-1:123456789012:nobody")
    work()
    assert state(job) == ("rejected", "untellable")
    other = ask(alarm, "sns", "ops")
    work()
    assert state(other) == ("rejected", "untellable")


def test_a_server_of_topics_that_is_away_is_asked_again(
    alarm: Alarm, sns: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    job = ask(alarm, "sns", "arn:aws:sns:eu-west-1:123456789012:ops")
    work()
    assert state(job) == ("queued", "not_told")
