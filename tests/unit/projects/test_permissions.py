"""Who may do what: a view that says nothing is closed (S05)."""

from typing import Any
from uuid import UUID

import pytest
from rest_framework.response import Response

from jobplatform.api.problems import Problem
from jobplatform.api.views import ApiView
from projects.authentication import Credential
from projects.permissions import HasScope


class Silent(ApiView):
    def get(self, request: Any) -> Response:
        return Response()


class Speaking(Silent):
    scopes = {"GET": "jobs:read"}

    def post(self, request: Any) -> Response:
        return Response()


class Asked:
    """As much of a request as a permission sees."""

    def __init__(self, method: str, *scopes: str, auth: Any = None) -> None:
        self.method = method
        self.auth = auth or Credential(UUID(int=1), "k3f7qjx2m5za", frozenset(scopes))


def allowed(view: type[ApiView], request: Any) -> bool:
    return HasScope().has_permission(request, view())


def test_a_view_without_scopes_is_closed() -> None:
    assert not allowed(Silent, Asked("GET", "jobs:read", "jobs:write"))


def test_a_method_without_a_scope_is_closed_beside_one_that_has_it() -> None:
    assert not allowed(Speaking, Asked("POST", "jobs:read", "jobs:write"))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_named_scope_opens(method: str) -> None:
    assert allowed(Speaking, Asked(method, "jobs:read"))


def test_another_scope_does_not_and_the_answer_names_the_right_one() -> None:
    with pytest.raises(Problem) as refused:
        allowed(Speaking, Asked("GET", "jobs:write", "messages:read"))

    assert (refused.value.status, refused.value.code) == (403, "permission_denied")
    assert "jobs:read" in refused.value.detail


@pytest.mark.parametrize("auth", ["text", {"scopes": ["jobs:read"]}, 5])
def test_only_a_credential_opens(auth: Any) -> None:
    assert not allowed(Speaking, Asked("GET", auth=auth))


@pytest.mark.parametrize("method", ["PATCH", "OPTIONS", "TRACE", "BREW", "dispatch", "as_view"])
def test_a_method_that_the_view_does_not_have_is_left_to_its_405(method: str) -> None:
    assert allowed(Speaking, Asked(method))
