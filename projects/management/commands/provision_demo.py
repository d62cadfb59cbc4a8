"""Creates or finds the demo project and prints a fresh API key for it, as JSON: {"project_id", "api_key"}.

With ADMIN_USER and ADMIN_PASSWORD set, there is a superuser of that name with that password afterwards.
"""

import json
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from django.db import transaction

from projects import scopes, selectors, services

DEMO = "demo"


class Command(BaseCommand):
    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            project = selectors.project_named(DEMO) or services.create_project(name="Demo", slug=DEMO, actor="system")
            issued = services.issue_key(
                project_id=project.id, name="Demo", scopes_asked=scopes.ALL, actor="system", reason="provision_demo"
            )
            self._admin(getattr(settings, "ADMIN_USER", ""), getattr(settings, "ADMIN_PASSWORD", ""))
        self.stdout.write(json.dumps({"project_id": str(project.id), "api_key": issued.text}))

    def _admin(self, name: str, password: str) -> None:
        if not (name and password):
            return
        user, _ = get_user_model().objects.get_or_create(username=name)
        user.is_staff = user.is_superuser = user.is_active = True
        if not user.check_password(password):  # setting it anew would end every session
            user.set_password(password)
        user.save()
