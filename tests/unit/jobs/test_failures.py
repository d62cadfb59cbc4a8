from uuid import uuid4

import pytest

from jobs.failures import LONGEST_MESSAGE, bounded, code_of, failure, from_exception


class QuotaExceeded(Exception):
    code = "quota_exceeded"


class HTTPServerError(Exception):
    pass


class Unreadable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (QuotaExceeded(), "quota_exceeded"),  # its own code
        (HTTPServerError(), "http_server_error"),  # else the name of the class
        (ValueError(), "value_error"),
    ],
)
def test_an_error_has_a_stable_code(error: Exception, code: str) -> None:
    assert code_of(error) == code


def test_a_fingerprint_ignores_ids_numbers_and_addresses() -> None:
    texts = [f"order {uuid4()} failed after {n} ms at 0x{n:040x}" for n in (3, 1700)]

    assert len({failure("boom", text).fingerprint for text in texts}) == 1


def test_a_fingerprint_tells_errors_apart() -> None:
    assert failure("boom", "disk full").fingerprint != failure("boom", "no route to host").fingerprint


def test_an_endless_text_is_cut() -> None:
    assert len(failure("boom", "ü" * 50_000_000).message.encode()) <= LONGEST_MESSAGE


def test_what_postgres_refuses_is_written_out() -> None:
    assert bounded("a\x00b\ud800c") == "a\\u0000b\\ud800c"


def test_an_error_whose_text_cannot_be_read_is_kept_all_the_same() -> None:
    assert "cannot be read" in from_exception(Unreadable()).message
