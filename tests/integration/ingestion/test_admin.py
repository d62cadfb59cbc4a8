from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from uuid_utils.compat import uuid7

from ingestion.models import Message
from ingestion.selectors import KnownMessage
from jobs.models import Job

pytestmark = pytest.mark.django_db

Receive = Callable[..., KnownMessage]
Work = Callable[[], dict[str, int]]


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root", password="a long password"))
    return client


def listing(admin: Client, **query: str) -> str:
    answer = admin.get(reverse("admin:ingestion_message_changelist"), query)
    assert answer.status_code == 200
    return answer.content.decode()


def shown(page: str, messages: list[KnownMessage]) -> list[KnownMessage]:
    return [message for message in messages if str(message.message_id) in page]


def test_messages_are_listed_with_the_status_of_their_jobs(
    admin: Client, receive: Receive, work: Work, storage: Path
) -> None:
    done = receive()
    work()
    waiting = receive()

    page = listing(admin)

    assert shown(page, [done, waiting]) == [done, waiting]
    assert {"processed", "received"} <= set(page.replace("<", " <").replace(">", "> ").split())


@pytest.mark.parametrize("status", ["received", "processed", "failed", "rejected", "cancelled"])
def test_a_filter_shows_one_status(admin: Client, receive: Receive, work: Work, storage: Path, status: str) -> None:
    messages = {"processed": receive()}
    work()
    for other in ("received", "failed", "rejected", "cancelled"):
        messages[other] = receive()
        if other != "received":
            Job.objects.filter(id=messages[other].id).update(status=other)

    assert shown(listing(admin, status=status), list(messages.values())) == [messages[status]]


def test_a_search_finds_a_message_by_each_of_its_ids(admin: Client, receive: Receive) -> None:
    messages = [receive() for _ in range(3)]
    wanted = messages[1]

    for term in (wanted.id, wanted.message_id, wanted.company_id):
        assert shown(listing(admin, q=str(term)), messages) == [wanted]
    for nothing in (uuid7(), "x", "'; drop table ingestion_message; --"):
        assert shown(listing(admin, q=str(nothing)), messages) == []


def test_the_page_of_a_message_shows_its_body_escaped_and_offers_no_change(
    admin: Client, receive: Receive, work: Work, storage: Path
) -> None:
    message = receive()
    Message.objects.filter(id=message.id).update(body=b'{"a": "<script>alert(1)</script>"}')
    work()  # the body is corrupt now, so there is an error to be shown

    answer = admin.get(reverse("admin:ingestion_message_change", args=[message.id]))

    page = answer.content.decode()
    assert answer.status_code == 200
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert(1)" not in page
    assert "body_corrupt" in page
    assert 'name="_save"' not in page
    assert message.body_sha256.hex() in page


def test_a_body_that_is_no_json_any_more_is_shown_as_text(admin: Client, receive: Receive) -> None:
    message = receive()
    Message.objects.filter(id=message.id).update(body=b"\xff\x00 not json")

    assert admin.get(reverse("admin:ingestion_message_change", args=[message.id])).status_code == 200


@pytest.mark.parametrize("act", ["add", "delete"])
def test_nobody_adds_or_deletes(admin: Client, receive: Receive, act: str) -> None:
    args: list[Any] = [] if act == "add" else [receive().id]

    assert admin.post(reverse(f"admin:ingestion_message_{act}", args=args), {"post": "yes"}).status_code == 403
    assert Message.objects.count() == len(args)


def test_a_stranger_is_sent_away(client: Client) -> None:
    assert client.get(reverse("admin:ingestion_message_changelist")).status_code == 302
