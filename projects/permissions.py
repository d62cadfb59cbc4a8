"""Who may do what. A view that says nothing is closed."""

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from jobplatform.api.problems import Problem
from projects.authentication import Credential

if TYPE_CHECKING:
    # Django REST framework loads this module, by its settings, while it defines its views.
    from rest_framework.views import APIView


class HasScope(BasePermission):
    """The credential holds the scope that the view names for the method: `scopes = {"GET": "jobs:read"}`.

    A method that the view does not have is let through, to be answered with 405.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """Whether it does; a method without a named scope is closed. Raises `Problem` 403 that names the scope."""
        credential = request.auth
        if not isinstance(credential, Credential):
            return False
        method = "GET" if request.method == "HEAD" else str(request.method)
        if method.lower() not in view.http_method_names or not hasattr(view, method.lower()):
            return True
        scope = getattr(view, "scopes", {}).get(method)
        if scope in credential.scopes:
            return True
        if scope:
            raise Problem(403, "permission_denied", f"This needs the scope {scope}.")
        return False
