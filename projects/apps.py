"""Projects (tenants), their API keys, and who may do what."""

from django.apps import AppConfig


class ProjectsConfig(AppConfig):
    name = "projects"
    verbose_name = "Projects"

    def ready(self) -> None:
        """Tell the OpenAPI generator how requests authenticate."""
        from projects import schema  # noqa: F401
