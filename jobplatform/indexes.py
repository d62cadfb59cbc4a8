"""How migrations build an index while the platform works, also where an earlier try was killed half way."""

from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement
from django.db.migrations.state import ProjectState

_FOUND = "select indisvalid from pg_index where indexrelid = to_regclass(%s)"


class BuildIndex(AddIndexConcurrently):
    """`AddIndexConcurrently` that can be run again.

    Whoever is killed, or waits too long for a transaction, while PostgreSQL builds an index concurrently leaves
    an invalid one behind, which no query uses and every write pays for: it is dropped first. One that was finished, but
    not noted as migrated, is left as it is.
    """

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        """Build it, if it is not there and whole."""
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(_FOUND, [self.index.name])
            row: tuple[Any, ...] | None = cursor.fetchone()
        if row is not None:
            if row[0]:
                return
            schema_editor.execute(f"drop index concurrently if exists {schema_editor.quote_name(self.index.name)}")
        super().database_forwards(app_label, schema_editor, from_state, to_state)


class UniqueIndex(models.Index):
    """A unique index for which NULL equals NULL.

    Django makes these as constraints only, and none that is partial, treats NULLs so and can be built concurrently.
    """

    def create_sql(
        self, model: type[models.Model], schema_editor: BaseDatabaseSchemaEditor, using: str = "", **kwargs: Any
    ) -> Statement:
        """The statement of an index, made unique."""
        statement = super().create_sql(model, schema_editor, using=using, **kwargs)
        template = statement.template.replace("CREATE INDEX", "CREATE UNIQUE INDEX", 1)
        statement.template = template.replace("%(include)s", "%(include)s NULLS NOT DISTINCT", 1)
        return statement
