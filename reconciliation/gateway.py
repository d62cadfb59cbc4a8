"""Telling people: a mail over SMTP, a message to a topic of SNS."""

import json
import smtplib
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend

from reconciliation.errors import NoMail, NotTold, Untellable

SECONDS = 10.0
"""So long an answer is waited for."""
PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
LONGEST_SUBJECT = 100
"""Characters, all of them ASCII: SNS takes no others."""
PERMANENT = 500
"""Replies of SMTP from here on are for good (RFC 5321, 4.2.1)."""
GONE = frozenset({"NotFound", "InvalidParameter", "AuthorizationError", "ValidationError"})
"""Errors of SNS that another try does not mend."""


def mail(to: str, subject: str, text: str, *, message_id: str, headers: Mapping[str, str]) -> None:
    """Mail a text. A second one with the same `message_id` is known as the same by whoever gets both.

    Raises `NoMail`, `NotTold` (it may go another time), `Untellable` (it never will).
    """
    if not settings.EMAIL_URL:
        raise NoMail
    parts = urlsplit(settings.EMAIL_URL)
    if parts.scheme not in PORTS or not parts.hostname:
        message = "EMAIL_URL begins with smtp://, smtp+tls:// or smtps://, and names a host."
        raise NoMail(message)
    backend = EmailBackend(
        host=parts.hostname, port=parts.port or PORTS[parts.scheme], username=unquote(parts.username or ""),
        password=unquote(parts.password or ""), use_ssl=parts.scheme == "smtps", use_tls=parts.scheme == "smtp+tls",
        timeout=SECONDS,
    )  # fmt: skip
    made = EmailMessage(
        subject=" ".join(subject.split()), body=text, from_email=settings.EMAIL_FROM, to=[to], connection=backend,
        headers={"Message-ID": message_id, "Auto-Submitted": "auto-generated", **headers},
    )  # fmt: skip
    try:
        made.send()
    except smtplib.SMTPRecipientsRefused as error:
        codes = [reply[0] for reply in error.recipients.values()]
        message = f"{to} is refused: {codes}"
        raise (Untellable if min(codes) >= PERMANENT else NotTold)(message) from error
    except smtplib.SMTPResponseException as error:
        raise (Untellable if error.smtp_code >= PERMANENT else NotTold)(_said(error)) from error
    except (smtplib.SMTPException, OSError) as error:
        raise NotTold(_said(error)) from error


def publish(topic: str, subject: str, about: Mapping[str, Any], *, message_id: str, group: str) -> None:
    """Publish to a topic of SNS, by its ARN. One of the sort FIFO drops a second one with the same `message_id`.

    Raises `NotTold` (it may go another time), `Untellable` (it never will).
    """
    import boto3  # noqa: PLC0415 - it costs every process that starts 0.3 s
    from botocore.config import Config  # noqa: PLC0415 - (same)
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - (same)

    region = (topic.split(":") + [""] * 4)[3]
    if not topic.startswith("arn:") or not region:
        message = f"{topic} is no ARN of a topic."
        raise Untellable(message)
    fifo = {"MessageGroupId": group, "MessageDeduplicationId": message_id} if topic.endswith(".fifo") else {}
    ascii_subject = " ".join(subject.split()).encode("ascii", "replace").decode()[:LONGEST_SUBJECT]
    try:
        client = boto3.client(
            "sns",
            region_name=region,
            config=Config(connect_timeout=SECONDS, read_timeout=SECONDS, retries={"total_max_attempts": 1}),
        )
        client.publish(
            TopicArn=topic,
            Subject=ascii_subject,
            Message=json.dumps(dict(about)),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": str(about[name])} for name in ("state", "severity", "rule")
            },
            **fifo,
        )
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise (Untellable if code in GONE else NotTold)(_said(error)) from error
    except BotoCoreError as error:
        raise NotTold(_said(error)) from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]
