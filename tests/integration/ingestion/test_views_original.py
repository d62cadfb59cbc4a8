"""GET messages/{id}/original while the storage takes its time."""

from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.db import connection
from django.test import Client
from uuid_utils.compat import uuid7

from ingestion import services
from ingestion.serializers import PostMessage
from tests.integration.ingestion.conftest import body_of
from tests.integration.projects.conftest import make_tenant

connected: list[bool] = []


class Watching(FileSystemStorage):
    """Notes whether a database connection is held while it works."""

    def _open(self, name: str, mode: str = "rb") -> Any:
        connected.append(connection.connection is not None)
        return File(Path(self.path(name)).open(mode))


@pytest.mark.usefixtures("committed")
def test_no_connection_is_held_while_the_storage_is_read(settings: Any, tmp_path: Path) -> None:
    settings.STORAGE_URL = f"class:{__name__}.Watching?location={tmp_path}"
    tenant, body = make_tenant("Ours"), body_of()
    metadata = PostMessage.model_validate_json(body).metadata
    message = services.receive(project_id=tenant.project.id, body=body, **dict(metadata)).message
    services.mark_stored(project_id=tenant.project.id, id_=message.id)
    (tmp_path / message.object_key).parent.mkdir()
    (tmp_path / message.object_key).write_bytes(body)
    connected.clear()

    answer = Client().get(f"/api/v1/messages/{message.id}/original", headers=tenant.headers)

    assert (answer.status_code, answer.content) == (200, body)
    assert connected == [False]
    missing = Client().get(f"/api/v1/messages/{uuid7()}/original", headers=tenant.headers)
    assert missing.status_code == 404
