"""The table of scopes."""

import re

import pytest

from projects import scopes
from projects.errors import UnknownScope


def test_every_scope_is_a_noun_with_read_or_write() -> None:
    assert [scope for scope in scopes.SCOPES if not re.fullmatch(r"[a-z]+(-[a-z]+)*:(read|write)", scope)] == []
    assert all(sentence.endswith(".") for sentence in scopes.SCOPES.values())


def test_reading_is_what_changes_nothing() -> None:
    assert {scope for scope in scopes.ALL if scope.endswith(":read")} == scopes.READING
    assert scopes.READING < scopes.ALL


def test_scopes_are_sorted_and_each_is_there_once() -> None:
    assert scopes.known(["keys:read", "jobs:read", "keys:read"]) == ["jobs:read", "keys:read"]


@pytest.mark.parametrize("scope", ["", "*", "jobs", "jobs:*", "jobs:read ", "JOBS:READ", "jobs:delete", "a,b", "{}"])
def test_an_unknown_scope_is_refused(scope: str) -> None:
    with pytest.raises(UnknownScope):
        scopes.known(["jobs:read", scope])
