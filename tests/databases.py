"""Databases for tests that commit: each test gets a copy of a migrated template, in milliseconds, and drops it after.

pytest-django's own way (truncate after the test) cannot serve them: rows that migrations made would be lost, and real
worker processes may still be connected.
"""

import contextlib
import itertools
import os
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
from django.core.management import call_command
from django.db import connection
from psycopg import sql

from jobplatform import settings as platform_settings
from jobs import shelves
from jobs.bell import bell

_numbers = itertools.count(1)


class Cluster:
    """A PostgreSQL server with a migrated template on it. `url` names any database of it where we may connect."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.template = f"template_{os.getpid()}_{next(_numbers)}"
        self._migrated = False

    def named(self, name: str) -> str:
        """The URL of another database of this server."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def make(self) -> str:
        """Make a new database as after `migrate`; returns its URL."""
        if not self._migrated:
            self._migrate()
        name = f"test_{os.getpid()}_{next(_numbers)}"
        self._execute(sql.SQL("create database {} template {}"), name, self.template)
        return self.named(name)

    def make_empty(self) -> str:
        """Make a new database without any table; returns its URL."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        self._execute(sql.SQL("create database {}"), name)
        return self.named(name)

    def drop(self, url: str) -> None:
        """Drop a database, whoever is connected to it."""
        self._execute(sql.SQL("drop database if exists {} with (force)"), urlsplit(url).path.lstrip("/"))

    def close(self) -> None:
        """Drop the template."""
        if self._migrated:
            self.drop(self.named(self.template))

    def _migrate(self) -> None:
        self._execute(sql.SQL("create database {}"), self.template)
        url = self.named(self.template)
        with django_on(url):
            call_command("migrate", verbosity=0, interactive=False)
        with psycopg.connect(url, autocommit=True) as link:
            # What handlers of tests write inside the commit of their outcome; without a key, so that doubles show.
            link.execute("create table effect (job_id uuid not null, attempt int not null, what text not null)")
        self._migrated = True

    def _execute(self, statement: sql.SQL, *names: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as link:
            link.execute(statement.format(*map(sql.Identifier, names)))


@contextlib.contextmanager
def django_on(url: str) -> Iterator[None]:
    """Let Django's connections of this process, in all threads, lead to another database."""
    chosen = connection.settings_dict  # shared by the connections of all threads
    before = dict(chosen)
    connection.close()
    _start_anew()
    chosen.update(platform_settings._database(url))
    try:
        yield
    finally:
        connection.close()
        _start_anew()
        chosen.clear()
        chosen.update(before)


def _start_anew() -> None:
    """Forget what this process remembers of a database: ids of shelves, and the bell's own connection."""
    shelves.forget()
    bell.hang_up()
