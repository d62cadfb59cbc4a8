"""`manage.py postman --file F`: a Postman collection, made from the API's own description."""

import json
import re
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from drf_spectacular.generators import SchemaGenerator

METHODS = ("get", "post", "put", "patch", "delete")


class Command(BaseCommand):
    """Write the collection; `backendURL` and `apiKey` are its variables."""

    requires_system_checks = []
    help = "Write a Postman collection of the API, made from its OpenAPI description."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """--file."""
        parser.add_argument("--file", type=Path, required=True, help="where to write it")

    def handle(self, *_args: Any, file: Path, **_options: Any) -> None:
        """Write the collection."""
        schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
        file.write_text(json.dumps(collection(schema), indent=1) + "\n", encoding="utf-8")


def collection(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The collection of an OpenAPI description, one folder per first word of the path."""
    folders: dict[str, list[dict[str, Any]]] = {}
    for path, operations in sorted(schema["paths"].items()):
        folder = path.removeprefix("/api/v1/").split("/")[0]
        for method in METHODS:
            if method in operations:
                folders.setdefault(folder, []).append(_item(path, method, operations[method], schema))
    return {
        "info": {
            "name": schema["info"]["title"],
            "description": schema["info"].get("description", ""),
            "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
        },
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{apiKey}}", "type": "string"}]},
        "variable": [{"key": "backendURL", "value": "http://127.0.0.1:8000"}, {"key": "apiKey", "value": ""}],
        "item": [{"name": name, "item": items} for name, items in folders.items()],
    }


def _item(path: str, method: str, operation: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    parameters = operation.get("parameters", [])
    inner = re.sub(r"\{(\w+)\}", r":\1", path)
    request: dict[str, Any] = {
        "method": method.upper(),
        "description": operation.get("description", ""),
        "header": [],
        "url": {
            "raw": "{{backendURL}}" + inner,
            "host": ["{{backendURL}}"],
            "path": inner.strip("/").split("/"),
            "query": [_parameter(item) for item in parameters if item["in"] == "query"],
            "variable": [_parameter(item) for item in parameters if item["in"] == "path"],
        },
    }
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is not None:
        request["header"].append({"key": "Content-Type", "value": "application/json"})
        request["body"] = {"mode": "raw", "raw": json.dumps(_example(content, schema), indent=2)}
    title = operation.get("summary") or operation.get("operationId", path)
    return {"name": f"{method.upper()} {title}", "request": request}


def _parameter(item: Mapping[str, Any]) -> dict[str, Any]:
    shown = {"key": item["name"], "value": "", "description": item.get("description", "")}
    return shown | ({"disabled": True} if item["in"] == "query" and not item.get("required") else {})


def _example(content: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:
    for named in content.get("examples", {}).values():
        return named.get("value")
    body = content.get("schema", {})
    while "$ref" in body:
        body = schema["components"]["schemas"][body["$ref"].rsplit("/", 1)[1]]
    return body.get("example", dict.fromkeys(body.get("required", [])))
