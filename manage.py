#!/usr/bin/env python
"""Entry point of the management commands: `python manage.py help` lists them."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

from jobs.errors import RegistrationError

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobplatform.settings")
    try:
        execute_from_command_line(sys.argv)
    except (ImproperlyConfigured, RegistrationError) as refusal:
        sys.exit(f"{refusal}")
