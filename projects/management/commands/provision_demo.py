"""Creates or finds the demo project and prints an API key for it, as JSON: {"project_id", "api_key"}.

The key is DEMO_API_KEY, if that is a good one with all scopes; else a fresh one.
With ADMIN_USER and ADMIN_PASSWORD set, there is a superuser of that name with that password afterwards.
"""

import json
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from django.db import transaction

from jobplatform.api.problems import Problem
from projects import authentication, scopes, selectors, services

DEMO = "demo"


class Command(BaseCommand):
    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            project = selectors.project_named(DEMO) or services.create_project(name="Demo", slug=DEMO, actor="system")
            text = self._good(settings.DEMO_API_KEY, project.id) or self._issue(project.id)
            self._admin(getattr(settings, "ADMIN_USER", ""), getattr(settings, "ADMIN_PASSWORD", ""))
        self.stdout.write(json.dumps({"project_id": str(project.id), "api_key": text}))

    def _good(self, text: str, project_id: UUID) -> str:
        try:
            credential = authentication.credential_of(text)
        except Problem:
            return ""
        return text if credential.project_id == project_id and credential.scopes >= scopes.ALL else ""

    def _issue(self, project_id: UUID) -> str:
        return services.issue_key(
            project_id=project_id, name="Demo", scopes_asked=scopes.ALL, actor="system", reason="provision_demo"
        ).text

    def _admin(self, name: str, password: str) -> None:
        if not (name and password):
            return
        user, _ = get_user_model().objects.get_or_create(username=name)
        user.is_staff = user.is_superuser = user.is_active = True
        if not user.check_password(password):  # setting it anew would end every session
            user.set_password(password)
        user.save()
