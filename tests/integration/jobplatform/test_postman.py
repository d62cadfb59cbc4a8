import json
from pathlib import Path

from django.core.management import call_command

COMMITTED = Path(__file__).resolve().parents[3] / "docs" / "postman_collection.json"


def test_the_committed_collection_is_what_the_schema_says(tmp_path: Path) -> None:
    call_command("postman", file=tmp_path / "made.json")

    assert (tmp_path / "made.json").read_text() == COMMITTED.read_text(), "renew it: manage.py postman --file ..."


def test_every_request_goes_to_the_variable_backend_url() -> None:
    collection = json.loads(COMMITTED.read_text())
    requests = [item["request"] for folder in collection["item"] for item in folder["item"]]

    assert "backendURL" in {variable["key"] for variable in collection["variable"]}
    assert len(requests) > 20
    assert all(request["url"]["raw"].startswith("{{backendURL}}/api/v1/") for request in requests)
