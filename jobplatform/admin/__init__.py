"""The admin as a whole: its sidebar and front page, who may sign in, and the schedules of django-celery-beat.

Each app shows its own rows in its own `admin`.
"""

from django.contrib import admin

from jobplatform.admin import people, schedules
from jobplatform.admin.sign_in import SignInForm

__all__ = ["people", "schedules"]

admin.site.index_template = "jobplatform/front_page.html"
admin.site.login_form = SignInForm
admin.site.index_title = "Overview"
