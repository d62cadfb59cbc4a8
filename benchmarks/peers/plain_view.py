"""What `POST /jobs` is measured against: a plain Django view that does one INSERT, and nothing else.

No REST framework, no authentication, no middleware, no validation beyond JSON, no events: the least that a Django
application can do to store a job. It is served like the platform (benchmarks/web.py), on the same Postgres.

    python -m benchmarks.peers.plain_view prepare
"""

import json
import uuid

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST

from benchmarks.peers import protocol

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": protocol.django_database()},
    MIDDLEWARE=[],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
)

INSERT = "insert into plain_job (id, kind, payload) values (%s, %s, %s::jsonb)"


@require_POST
def create(request: HttpRequest) -> JsonResponse:
    job = json.loads(request.body)
    identifier = uuid.uuid4()
    with connection.cursor() as cursor:
        cursor.execute(INSERT, (identifier, job["kind"], json.dumps(job["payload"])))
    return JsonResponse({"id": str(identifier)}, status=202)


urlpatterns = [path("jobs", create)]
application = get_wsgi_application()


def prepare() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "create table plain_job (id uuid primary key, kind text not null, payload jsonb not null,"
            " created_at timestamptz not null default now())"
        )


if __name__ == "__main__":
    from importlib.metadata import version

    prepare()
    print(
        json.dumps(
            {
                "versions": {name: version(name) for name in ("django", "granian", "psycopg")},
                "settings": "granian, no middleware, lasting connections, one INSERT through Django's cursor",
            }
        )
    )
