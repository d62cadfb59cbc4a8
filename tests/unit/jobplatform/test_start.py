"""What a process that serves no pages loads when it starts: each costs time at every start, and memory in every child."""

import json
import subprocess
import sys

PAGES = {"rest_framework.views", "drf_spectacular.plumbing", "unfold.admin", "jobs.admin", "requests", "flower"}


def loaded(then: str) -> set[str]:
    """The modules of a new process that has set Django up and done this."""
    program = f"import django; django.setup()\n{then}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


def test_a_process_without_pages_starts_without_what_only_pages_need() -> None:
    assert not PAGES & loaded("import jobs.tasks")


def test_the_routes_bring_the_pages() -> None:
    assert loaded("import jobplatform.urls") >= {"rest_framework.views", "unfold.admin", "jobs.admin"}


def test_django_s_checks_look_at_the_pages() -> None:
    program = "from django.core import checks; checks.run_checks(tags=[checks.Tags.admin])"
    assert "jobs.admin" in loaded(program)
