"""Who may sign in, and the two groups of daily work: nobody needs to be a superuser for it."""

from typing import ClassVar

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Q
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from jobplatform.admin.audited import AuditedAdmin

VIEWERS, OPERATORS = "viewers", "operators"

_SEEN = ("jobs", "events", "projects", "ingestion", "confirmations", "reconciliation", "django_celery_beat")
"""Apps whose rows everybody of the staff may look at."""

_OPERATED = (
    "cancel_job",
    "retry_job",
    "edit_payload",
    "change_shelf",
    "add_pause",
    "add_limitrule",
    "change_limitrule",
    "change_kindsettings",
    "change_intervention",
    "operate_project",
    "pause_signer",
    "repair",
    "operate_redrive",
    "add_alarmrule",
    "change_alarmrule",
    "add_silence",
    "add_periodictask",
    "change_periodictask",
    "add_intervalschedule",
    "add_crontabschedule",
    "add_clockedschedule",
)
"""What an operator may do beside looking."""

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class PersonAdmin(AuditedAdmin, UserAdmin, ModelAdmin):  # type: ignore[misc, type-arg] # unfold has no types
    """People of the staff."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "is_active", "is_staff", "is_superuser", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")
    filter_horizontal: ClassVar = ("groups", "user_permissions")


@admin.register(Group)
class PeopleGroupAdmin(AuditedAdmin, GroupAdmin, ModelAdmin):  # type: ignore[misc] # unfold has no types
    """Groups of people."""


def set_up_groups() -> dict[str, int]:
    """Give the two groups what they should have; what was added by hand stays. Returns their permissions' numbers."""
    seen = Q(content_type__app_label__in=_SEEN, codename__startswith="view_")
    operated = Q(content_type__app_label__in=_SEEN, codename__in=_OPERATED)
    found = {}
    for name, wanted in ((VIEWERS, seen), (OPERATORS, seen | operated)):
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.add(*Permission.objects.filter(wanted))
        found[name] = group.permissions.count()
    return found
