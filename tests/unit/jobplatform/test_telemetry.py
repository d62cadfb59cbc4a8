"""Log lines are single, printable and without secrets (S20); metrics are shown to the monitoring alone (S14)."""

import io
import json
import logging
import logging.config
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import structlog
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric

from jobplatform import telemetry
from jobplatform.telemetry import SCRUBBED, one_line, safe, scrubbed

KEY = "jp_live_k3f7qjx2m5za_" + "4fJx0Zq9" * 4 + "2B7c1Z"

# Each text holds SECRET where a secret would stand.
WITH_SECRETS = [
    f"Authorization: Bearer {KEY}",
    f"key {KEY}.",
    "Authorization: Bearer SECRETxyz",
    "authorization: Basic U0VDUkVUSECRET",
    "{'Authorization': 'Bearer SECRETxyz'}",
    '{"authorization": "Token SECRETxyz"}',
    "('Authorization', 'Bearer SECRETxyz')",
    "HTTP_AUTHORIZATION=Bearer SECRETxyz",
    "retrying with bearer SECRETxyz12345",
    "postgresql://user:SECRET@host:5432/name",
    "cannot connect to redis://:SECRET@localhost/0: refused",
    "amqp://guest:SEC:RET-SECRET@host//",
    "password=SECRET",
    "password = 'SECRET and more'",
    '{"password": "SECRET \\" and more"}',
    '{\\"password\\": \\"SECRET\\"}',
    "PASSWORD: SECRET",
    "DJANGO_SECRET_KEY=SECRET",
    "API_KEY_PEPPER=SECRET",
    "AUDIT_KEY=SECRET",
    "aws_secret_access_key=SECRET",
    "client-secret: SECRET",
    "?api_key=SECRET&x=1",
    "&access_token=SECRET",
    "sessionid=SECRET; csrftoken=abc",
    "Cookie: SECRET",
    "whsec_SECRETSECRETSECRET",
    "X-Signature: SECRET",
    "-----BEGIN RSA PRIVATE KEY-----\nSECRET\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\nSECRET",
]
HARMLESS = [
    "the key of the lane is free",
    "token bucket of project 5 is empty",
    "secretary",
    "Basic idea",
    "https://example.org/a:b?c=d",
    "postgresql:///name?host=/tmp/x",
    "kind=backup.export status=queued attempt=3",
    "monkey=5",
    "idempotency keys: 3",
]


@pytest.fixture(params=["json", "console"])
def lines(request: pytest.FixtureRequest) -> Iterator[tuple[str, io.StringIO]]:
    """The format, and what is written in it."""
    stream = io.StringIO()
    config = telemetry.configure(request.param, "DEBUG")
    config["handlers"]["stderr"]["stream"] = stream
    touched = [logging.root, *(logging.getLogger(name) for name in config["loggers"])]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in touched]
    structlog_before = structlog.get_config()
    logging.config.dictConfig(config)
    yield request.param, stream
    for logger, handlers, level, propagate in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate
    structlog.configure(**structlog_before)


def fail(text: str) -> None:
    raise RuntimeError(text)


def only_line(stream: io.StringIO) -> str:
    written = stream.getvalue()
    assert written.endswith("\n")
    assert len(written.splitlines()) == 1, written
    return written[:-1]


# ------------------------------------------------------------------------------------------------ secrets
@pytest.mark.parametrize("text", WITH_SECRETS)
def test_a_secret_is_scrubbed(text: str) -> None:
    shown = scrubbed(text)

    assert "SECRET" not in re.sub(r"SECRET(_KEY|_access)?\b(?=[=:_])", "", shown), shown
    assert KEY not in shown
    assert SCRUBBED in shown
    assert scrubbed(shown) == shown


def test_of_a_key_the_id_stays() -> None:
    assert scrubbed(f"key {KEY} was used") == f"key jp_live_k3f7qjx2m5za_{SCRUBBED} was used"


@pytest.mark.parametrize("text", HARMLESS)
def test_a_harmless_text_stays_as_it_is(text: str) -> None:
    assert scrubbed(text) == text


@pytest.mark.parametrize(
    "name",
    ["password", "db_password", "SECRET_KEY", "api_key", "Authorization", "x-api-key", "cookie", "csrftoken", "token"],
)
def test_a_field_of_a_telling_name_is_not_shown(name: str) -> None:
    assert safe({"outer": {name: "abc"}}) == {"outer": {name: SCRUBBED}}
    assert safe(["abc"], name=name) == SCRUBBED


@pytest.mark.parametrize("name", ["key", "key_id", "lane_key", "idempotency_keys", "secretary", "tokens_left"])
def test_a_field_of_a_harmless_name_is_shown(name: str) -> None:
    assert safe("abc", name=name) == "abc"


# ------------------------------------------------------------------------------------------------ one line
@given(st.text(st.characters(exclude_categories=[]), max_size=200))
def test_whatever_is_logged_is_one_printable_line(text: str) -> None:
    shown = one_line(text)

    assert len(shown.splitlines()) <= 1
    shown.encode()  # no halves of surrogate pairs
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", shown)


@pytest.mark.parametrize(
    "text, shown",
    [
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\u202eevil\u2028", r"\u202eevil\u2028"),
        ("\x00\x7f\x85", r"\x00\x7f\x85"),
        ("\ud800", r"\ud800"),
        ("é 日本 😀", "é 日本 😀"),
    ],
)
def test_a_control_character_is_escaped(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_a_long_text_is_cut_in_its_middle() -> None:
    shown = safe("head" + "x" * 100_000 + "tail")

    assert shown.startswith("headx")
    assert shown.endswith("xtail")
    assert "100008 characters" in shown
    assert len(shown) < telemetry.LONGEST_VALUE + 100


def test_a_secret_at_the_cut_is_gone() -> None:
    half = telemetry.LONGEST_VALUE // 2

    assert "4fJx0Zq9" not in safe("x" * (half - 30) + KEY + "y" * 50_000)


def test_a_value_of_any_shape_is_bounded() -> None:
    value: Any = "x"
    for _ in range(50):
        value = [value]

    assert len(str(safe(value))) < 100
    assert len(safe(list(range(10_000)))) == telemetry.MOST_ITEMS
    assert len(safe({str(n): n for n in range(10_000)})) == telemetry.MOST_ITEMS


# ------------------------------------------------------------------------------------------------ lines
@pytest.mark.parametrize("text", WITH_SECRETS)
def test_no_way_into_the_log_shows_a_secret(lines: tuple[str, io.StringIO], text: str) -> None:
    _, stream = lines
    structlog.get_logger("backup").info(text, field=text, nested={"a": [text]}, error=ValueError(text))
    logging.getLogger("django.x").warning("%s", text)
    logging.getLogger("celery").warning(text.replace("%", "%%"))
    try:
        fail(text)
    except RuntimeError:
        structlog.get_logger("backup").exception("failed")
        logging.getLogger("other").exception("failed")

    written = stream.getvalue()
    assert len(written.splitlines()) == 5
    assert "SECRET" not in re.sub(r"SECRET(_KEY|_access)?(?=[=:_])", "", written), written
    assert KEY not in written


def test_a_line_says_when_who_and_what(lines: tuple[str, io.StringIO]) -> None:
    log_format, stream = lines

    structlog.get_logger("backup.export").info("dump written", bytes=3, job="a\nb")

    line = only_line(stream)
    if log_format == "json":
        event = json.loads(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event.pop("time"))
        expected = {"level": "info", "handler": "backup.export", "action": "dump written", "details": ""}
        assert event == expected | {"bytes": 3, "job": r"a\nb"}
    else:
        assert re.fullmatch(r"\d\d:\d\d:\d\d info    \[backup\.export\] dump written: bytes=3 job=a\\nb", line)


def test_a_line_that_names_its_parts_begins_its_details_with_its_sentence(lines: tuple[str, io.StringIO]) -> None:
    log_format, stream = lines

    structlog.get_logger("jobs.relay").warning("database away", handler="relay", action="wait", details="no route")

    line = only_line(stream)
    if log_format == "json":
        said = json.loads(line)
        assert list(said) == ["time", "level", "handler", "action", "details"]
        assert [said[name] for name in ("handler", "action", "details")] == ["relay", "wait", "database away: no route"]
    else:
        assert line.endswith(" warning [relay] wait: database away: no route")


def test_what_runs_is_named_on_each_line_unless_the_line_says_it_itself(
    lines: tuple[str, io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, stream = lines
    monkeypatch.setattr(telemetry, "_contexts", [lambda: {"job": "J1", "kind": "a.b", "attempt": 2}])

    structlog.get_logger("a").info("one", kind="own")
    logging.getLogger("b").info("two")

    own, foreign = stream.getvalue().splitlines()
    assert ("J1" in own, "own" in own, "a.b" in own) == (True, True, False)
    assert ("J1" in foreign, "a.b" in foreign) == (True, True)


def test_lines_of_the_standard_library_take_the_same_way(lines: tuple[str, io.StringIO]) -> None:
    log_format, stream = lines

    logging.getLogger("django.db").error("lost %s", "a\nb")
    here = "test_lines_of_the_standard_library_take_the_same_way"

    line = only_line(stream)
    if log_format == "json":
        said = json.loads(line)
        assert [said[name] for name in ("handler", "action", "details")] == ["django.db", here, r"lost a\nb"]
    else:
        assert line.endswith(rf"error   [django.db] {here}: lost a\nb")


def test_an_exception_stands_on_the_line_with_its_end(lines: tuple[str, io.StringIO]) -> None:
    _, stream = lines
    try:
        fail("begin " + "x" * 100_000 + " the end")
    except RuntimeError:
        structlog.get_logger("a").exception("broken", job=5)

    line = only_line(stream)
    assert "Traceback" in line
    assert "the end" in line
    assert len(line) < 10_000


def test_what_was_bound_to_the_context_is_on_every_line(lines: tuple[str, io.StringIO]) -> None:
    _, stream = lines

    with structlog.contextvars.bound_contextvars(job="J1"):
        logging.getLogger("a").warning("one")

    assert "J1" in only_line(stream)


def test_another_format_stops_the_boot() -> None:
    with pytest.raises(ValueError, match="json or console"):
        telemetry.configure("xml")


# ------------------------------------------------------------------------------------------------ metrics
@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()

    def depth() -> Iterable[Metric]:
        yield GaugeMetricFamily("queue_depth", "Jobs that wait.", value=3)

    telemetry.register_metrics(depth, registry)
    return registry


def answer(registry: CollectorRegistry, **meta: Any) -> Any:
    return telemetry.metrics_response(RequestFactory().get("/metrics", **meta), registry)


def test_this_machine_sees_the_metrics_where_no_token_is_set(registry: CollectorRegistry, settings: Any) -> None:
    settings.METRICS_TOKEN = ""

    shown = answer(registry, REMOTE_ADDR="127.0.0.1")

    assert shown.status_code == 200
    assert b"queue_depth 3.0" in shown.content


@pytest.mark.parametrize(
    "meta",
    [
        {"REMOTE_ADDR": "10.0.0.1"},
        {"REMOTE_ADDR": ""},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "10.0.0.1"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_FORWARDED": "for=10.0.0.1"},
    ],
)
def test_others_do_not(registry: CollectorRegistry, settings: Any, meta: dict[str, str]) -> None:
    settings.METRICS_TOKEN = ""

    refused = answer(registry, **meta)

    assert refused.status_code == 401
    assert refused["Content-Type"] == "application/problem+json"
    assert json.loads(refused.content)["code"] == "not_authenticated"
    assert b"queue_depth" not in refused.content


@pytest.mark.parametrize(
    "header, status",
    [("Bearer monitoring", 200), ("Bearer other", 401), ("monitoring", 401), ("", 401), ("Bearer monitorin\xe9", 401)],
)
def test_where_a_token_is_set_it_is_asked_of_everybody(
    registry: CollectorRegistry, settings: Any, header: str, status: int
) -> None:
    settings.METRICS_TOKEN = "monitoring"

    shown = answer(registry, REMOTE_ADDR="127.0.0.1", HTTP_AUTHORIZATION=header)

    assert shown.status_code == status
