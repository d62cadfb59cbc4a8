"""Roles of the database, tried for real: each connection here has logged in as who it is."""

import datetime as dt
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings
from psycopg import errors, sql
from pytest_django import DjangoDbBlocker

from benchmarks.explain import plan, sketch, statements
from events import audit, consumers, log, sealing, verification
from jobplatform import checks, metrics, roles
from jobs import figures
from projects import scopes, services
from tests.databases import Cluster, django_on
from tests.processes import PROJECT, Driver, Platform

PREFIX = f"roles{os.getpid()}"
OURS, THEIRS = PROJECT, uuid4()
PASSWORD = "a password / of the test"
Link = psycopg.Connection[Any]
TODAY = dt.datetime.now(dt.UTC).date()


def login(url: str, user: str) -> str:
    """The URL of the same database for another role."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:{PASSWORD.replace(' ', '%20').replace('/', '%2F')}@{host}"))


def forget_roles(url: str, *names: str) -> None:
    with psycopg.connect(url, autocommit=True) as link:
        for name in names:
            link.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def platform(cluster: Cluster, django_db_blocker: DjangoDbBlocker) -> Iterator[Platform]:
    """A database with the roles, and two projects with a few rows. Django of this process is the owner."""
    with django_db_blocker.unblock(), ExitStack() as stack:
        names = [f"{PREFIX}_{name}" for name in ("anna", "app", "reader", "admin")]
        stack.callback(forget_roles, cluster.url, *names)
        platform = stack.enter_context(Platform(cluster, os.environ["BROKER_URL"]))
        url = login(platform.database_url, f"{PREFIX}_app")
        stack.enter_context(override_settings(DATABASE_URL=url, DATABASE_ROLES=PREFIX))
        call_command("setup_roles", verbosity=0)
        call_command("setup_groups", verbosity=0)
        for project in (OURS, THEIRS):
            platform.execute(
                "insert into projects_project (id, name, slug, weight) values (%s, 'P', %s, 1)", project, project.hex
            )
            services.issue_key(project_id=project, name="all", scopes_asked=scopes.ALL, actor="system")
            log.append([log.NewEvent(project, "job.queued", uuid4(), 1, {"kind": "test.done"})])
        platform.submit("test.silent", 2)
        yield platform


@pytest.fixture
def connect(platform: Platform) -> Iterator[Callable[[str], Link]]:
    """`connect("app")`; a person gets a login of her own, as docs/operations.md tells."""
    with ExitStack() as stack:

        def open_as(role: str) -> Link:
            user = f"{PREFIX}_app"
            if role != "app":
                user = f"{PREFIX}_anna"
                person = sql.Identifier(user)
                platform._link.execute(sql.SQL("drop role if exists {}").format(person))
                made = sql.SQL("create role {} login in role {} password {}")
                platform._link.execute(made.format(person, sql.Identifier(f"{PREFIX}_{role}"), sql.Literal(PASSWORD)))
            return stack.enter_context(psycopg.connect(login(platform.database_url, user), autocommit=True))

        yield open_as


def value(link: Link, question: str, *parameters: Any) -> Any:
    row = link.execute(question.encode(), parameters).fetchone()
    return row[0] if row else None


def choose(link: Link, project: UUID) -> None:
    link.execute("select set_config('jobplatform.project', %s, false)", (str(project),))


# ------------------------------------------------------------------------------------------------ the catalog
def test_after_set_up_nothing_differs_and_a_second_time_changes_nothing(platform: Platform) -> None:
    assert roles.faults() == []
    assert roles.set_up() == 0


def test_none_of_the_three_roles_may_do_what_only_the_owner_may(platform: Platform) -> None:
    found = platform.rows(
        "select r.rolname, r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolcreatedb or r.rolreplication as too_much,"
        " pg_has_role(r.oid, current_user, 'member') as owner,"
        " (select count(*) from pg_class c where c.relowner = r.oid) as owned,"
        " has_schema_privilege(r.oid, 'public', 'create') as creates,"
        " (select count(*) from pg_class c where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
        "  and has_table_privilege(r.oid, c.oid, 'truncate, references, trigger')) as truncates"
        " from pg_roles r where r.rolname = any(%s)",
        [f"{PREFIX}_{name}" for name in ("app", "reader", "admin")],
    )
    assert len(found) == 3
    assert all(not any([*row.values()][1:]) for row in found), found


def test_every_table_with_a_project_is_secured(platform: Platform) -> None:
    """By a walk of its own, so that a table that is made later cannot be forgotten."""
    walk = """
        select c.relname::text as name,
               c.relrowsecurity and (select count(*) from pg_policy p where p.polrelid = c.oid)
                   = case when c.relispartition then 0 else 3 end as secured
        from pg_class c
        where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace
          and (c.relname = 'projects_project' or exists (
              select 1 from pg_attribute a where a.attrelid = c.oid and a.attname = 'project_id' and not a.attisdropped))
    """
    found = {row["name"]: row["secured"] for row in platform.rows(walk)}
    assert {"jobs_job", "jobs_attempt", "events_event", "projects_project", "projects_apikey"} <= found.keys()
    assert [name for name, secured in found.items() if not secured] == []

    platform.execute("create table planted (project_id uuid, note text)")
    try:
        assert {row["name"] for row in platform.rows(walk) if not row["secured"]} == {"planted"}
        assert any(fault.startswith("The table planted lacks row-level security") for fault in roles.faults())
        assert roles.set_up() > 0
        assert roles.faults() == []
    finally:
        platform.execute("drop table planted")


@pytest.mark.parametrize(
    ("done", "fault"),
    [
        ("grant truncate on jobs_job to {app}", "truncate"),
        ("grant select (hash) on projects_apikey to {reader}", "hash"),
        ("grant select on auth_user to public", "auth_user"),
        ("alter table jobs_attempt disable row level security", "jobs_attempt"),
        ("drop policy {reader} on jobs_job; create policy {reader} on jobs_job to {reader} using (true)", "jobs_job"),
        ("create policy wide on jobs_job to {reader} using (true)", "jobs_job"),
        ("grant execute on function events_drop_partition(text) to public", "events_drop_partition"),
        ("revoke insert on jobs_job from {app}", "insert"),
    ],
)
def test_what_somebody_changed_by_hand_is_seen_and_put_right(platform: Platform, done: str, fault: str) -> None:
    names = {name: sql.Identifier(f"{PREFIX}_{name}") for name in ("app", "reader", "admin")}
    platform._link.execute(sql.SQL(done).format(**names))
    assert [text for text in roles.faults() if fault in text]
    roles.set_up()
    assert roles.faults() == []


# ------------------------------------------------------------------------------------------------ the app
@pytest.mark.parametrize(
    "statement",
    [
        "alter table jobs_job add column x int",
        "alter table jobs_job disable row level security",
        "alter table events_event detach partition {part}",
        "truncate jobs_job",
        "truncate events_auditrecord",
        "drop table jobs_job",
        "create table made (id int)",
        "create index made on jobs_job (seq)",
        "update events_auditrecord set reason = ''",
        "update events_auditrecord set reason = '', chain_no = 1, prev_hash = '', hash = ''",
        "delete from events_auditrecord",
        "update events_event set seq = 9",
        "delete from events_event",
        "delete from {part}",
        "select count(*) from {part}",
        "insert into django_migrations (app, name, applied) values ('a', 'b', now())",
        "create role made",
        "set role {owner}",
        "alter role {app} bypassrls",
        "select pg_read_file('/etc/passwd')",
        "select events_drop_partition({today})",
        "select rolpassword from pg_authid",
    ],
)
def test_the_app_may_not(platform: Platform, connect: Callable[[str], Link], statement: str) -> None:
    part = f"events_event_{TODAY:%Y%m%d}"
    names = {
        "part": sql.Identifier(part),
        "today": sql.Literal(part),
        "app": sql.Identifier(f"{PREFIX}_app"),
        "owner": sql.Identifier(str(platform.value("select current_user"))),
    }
    with pytest.raises(errors.InsufficientPrivilege):
        connect("app").execute(sql.SQL(statement).format(**names))


def test_the_app_sees_every_project(connect: Callable[[str], Link]) -> None:
    assert value(connect("app"), "select count(*) from projects_project where id = any(%s)", [OURS, THEIRS]) == 2


def test_a_job_is_made_run_and_recorded_as_the_app(platform: Platform) -> None:
    """A process that has logged in as the app: submit, claim, the handler's write inside the commit, the log."""
    driver = Driver(platform, platform._environment("driver", {"DATABASE_URL": app_url(platform)}, None))
    [job] = [UUID(text) for text in driver.call("submit", "test.within", 1, "as app", str(PROJECT))["ok"]]
    who = "select distinct usename::text from pg_stat_activity where application_name like 'driver%%'"
    assert platform.rows(who) == [{"usename": f"{PREFIX}_app"}]
    assert "ok" in driver.call("pump", "test.within")

    assert platform.job(job)["status"] == "processed"
    assert platform.events(job) == ["job.queued", "job.processed"]
    assert platform.rows("select what from effect where job_id = %s", job)


def test_what_processes_do_beside_jobs_works_as_the_app(platform: Platform) -> None:
    with django_on(app_url(platform)):
        assert log.adopt_cluster() is False
        consumers.ensure_rows()
        log.lag()
        log.move_clock(dt.timedelta(0))
        audit.record(action="test.act", actor="system", subject_type="test", subject_id="1")
        assert sealing.seal() > 0
        assert verification.verify().findings == []
        assert len(list(metrics.collect())) > 20
        assert figures.transactions().oldest >= 0
        call_command("check", verbosity=0)
        call_command("migrate", check_unapplied=True, verbosity=0)


def test_the_app_sees_how_old_a_transaction_of_the_owner_is(platform: Platform, connect: Callable[[str], Link]) -> None:
    question = "select count(xact_start) from pg_stat_activity where usename = %s and state = 'idle in transaction'"
    with psycopg.connect(platform.database_url) as owner:
        owner.execute("select 1")
        assert value(connect("app"), question, platform.value("select current_user")) >= 1


def test_the_app_makes_and_drops_partitions(platform: Platform) -> None:
    platform.execute("select events_ensure_partitions(%s, %s)", TODAY - dt.timedelta(days=9), TODAY)
    old = TODAY - dt.timedelta(days=8)
    with django_on(app_url(platform)):
        until = max(day for _, day in log.partitions()) + dt.timedelta(days=1)
        assert log.ensure_partitions(until) == 1
        assert len(log.drop_partitions(old)) == 1
    made = platform.rows(
        "select relowner::regrole::text as owner, relacl::text as acl, relrowsecurity as secured"
        " from pg_class where relname = %s",
        f"events_event_{until:%Y%m%d}",
    )[0]
    owner = platform.value("select current_user")
    assert (made["owner"], made["secured"]) == (owner, True)
    assert PREFIX not in str(made["acl"])
    assert roles.faults() == []


def test_the_functions_of_the_owner_look_nowhere_else_for_names(platform: Platform) -> None:
    found = platform.rows("select proname, array_to_string(proconfig, ' ') as set from pg_proc where prosecdef")

    assert {row["proname"] for row in found} == {"events_ensure_partitions", "events_drop_partition"}
    assert all("search_path=public, pg_temp" in row["set"] for row in found), found


@pytest.mark.parametrize("name", sorted(statements()))
def test_the_policy_of_the_app_leaves_no_trace_in_a_plan(
    platform: Platform, connect: Callable[[str], Link], name: str
) -> None:
    statement = re.sub(r"\$(\d+)", r"%(p\1)s", statements()[name])  # one of them numbers its parameters itself
    with psycopg.connect(platform.database_url, autocommit=True) as owner:
        before = plan(owner, statement)
    after = plan(connect("app"), statement)

    assert after == before, f"{sketch(before)}\n\n{sketch(after)}"


WHOLE_PLATFORM = {
    "jobs/any_due", "jobs/chores", "jobs/due", "jobs/lower_mark", "jobs/raise_mark", "jobs/sweep", "jobs/owned",
    "jobs/count_keys", "jobs/lock_keys", "jobs/miscounted_keys", "jobs/release_keys", "jobs/waiting_keys",
    "events/adopt", "events/end_writers", "events/read", "events/unread",
}  # fmt: skip
"""What the engine asks about all projects at once: what is due, what a worker holds, how far the log is read, and who holds it back."""


def test_every_other_named_statement_says_itself_which_project_it_means() -> None:
    """Row-level security does not narrow what the app does, so the statements do."""
    named = {name: text for name, text in statements().items() if name not in WHOLE_PLATFORM}
    assert {"jobs/claim", "jobs/commit", "jobs/submit", "events/append"} <= named.keys()
    for name, text in named.items():
        inserts_only = not re.search(r"\b(update|delete from|from) jobs_(job|attempt|uniquekey)\b", text)
        assert re.search(r"\bproject_id\b" if inserts_only else r"\bproject_id\s*=", text), name
    for name in WHOLE_PLATFORM:
        assert not re.search(r"\b(update|delete from) jobs_(job|attempt|uniquekey)\b", statements()[name]), name


# ------------------------------------------------------------------------------------------------ people
@pytest.mark.parametrize("role", ["reader", "admin"])
def test_a_person_sees_nothing_until_she_names_a_project(connect: Callable[[str], Link], role: str) -> None:
    link = connect(role)
    for table in ("jobs_job", "events_event", "projects_project", "events_auditrecord"):
        assert value(link, f"select count(*) from {table}") == 0
    link.execute("select set_config('jobplatform.project', '', false)")
    assert value(link, "select count(*) from jobs_job") == 0


@pytest.mark.parametrize("role", ["reader", "admin"])
def test_a_person_sees_the_rows_of_one_project_only(connect: Callable[[str], Link], role: str) -> None:
    link = connect(role)
    for project in (OURS, THEIRS):
        choose(link, project)
        for table, column in {
            "projects_project": "id",
            "projects_apikey": "project_id",
            "events_event": "project_id",
            "events_auditrecord": "project_id",
        }.items():
            assert link.execute(f"select distinct {column} from {table}".encode()).fetchall() == [(project,)], table
    assert value(link, "select count(*) from jobs_job") == 0
    choose(link, OURS)
    assert value(link, "select count(*) from jobs_job where project_id = %s", OURS) >= 2
    assert value(link, "select count(*) from jobs_job where project_id = %s", THEIRS) == 0


@pytest.mark.parametrize("role", ["reader", "admin"])
@pytest.mark.parametrize(
    "statement",
    [
        "select hash from projects_apikey",
        "select * from projects_apikey",
        "select 1 from auth_user",
        "select 1 from django_session",
        "select 1 from api_idempotency",
        "select 1 from {part}",
        "insert into jobs_job default values",
        "update jobs_job set status = 'processed'",
        "update projects_project set name = 'mine'",
        "delete from jobs_job",
        "delete from events_auditrecord",
        "truncate jobs_job",
        "alter table jobs_job disable row level security",
        "set role {app}",
        "select events_drop_partition('x')",
    ],
)
def test_a_person_may_not(connect: Callable[[str], Link], role: str, statement: str) -> None:
    link = connect(role)
    choose(link, OURS)
    names = {"part": sql.Identifier(f"events_event_{TODAY:%Y%m%d}"), "app": sql.Identifier(f"{PREFIX}_app")}

    with pytest.raises(errors.InsufficientPrivilege):
        link.execute(sql.SQL(statement).format(**names))


@pytest.mark.parametrize("role", ["app", "reader", "admin"])
def test_nobody_takes_a_seal_off_and_people_put_none_on(
    platform: Platform, connect: Callable[[str], Link], role: str
) -> None:
    with django_on(app_url(platform)):
        audit.record(action="test.act", actor="system", subject_type="test", subject_id="1", project_id=OURS)
        sealing.seal()
    link = connect(role)
    choose(link, OURS)
    assert value(link, "select count(*) from events_auditrecord where hash is not null") >= 1
    for change in ("chain_no = null, prev_hash = null, hash = null", "hash = ''", "chain_no = chain_no + 1"):
        with pytest.raises(errors.InsufficientPrivilege):
            link.execute(f"update events_auditrecord set {change}".encode())
    with pytest.raises(errors.InsufficientPrivilege):
        link.execute(
            "insert into events_auditrecord (project_id, actor, action, subject_type, subject_id, reason, data, chain_no)"
            " values (%s, 'user:anna', 'shelf.pause', 'shelf', '1', 'r', '{}', 1000)",
            (OURS,),
        )


def test_a_reader_may_not_pause_a_shelf(connect: Callable[[str], Link]) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        connect("reader").execute("update jobs_shelf set paused = true")


def test_an_admin_pauses_shelves_of_the_project_and_says_so(platform: Platform, connect: Callable[[str], Link]) -> None:
    link = connect("admin")
    choose(link, THEIRS)
    assert link.execute("update jobs_shelf set paused = true").rowcount == 0
    choose(link, OURS)
    assert link.execute("update jobs_shelf set paused = true").rowcount >= 1
    assert link.execute("update jobs_shelf set paused = false").rowcount >= 1
    act = (
        "insert into events_auditrecord (project_id, actor, action, subject_type, subject_id, reason, data)"
        " values (%s, 'user:anna', 'shelf.pause', 'shelf', '1', 'r', '{}')"
    )
    link.execute(act, (OURS,))
    with pytest.raises(errors.InsufficientPrivilege):
        link.execute(act, (THEIRS,))


# ------------------------------------------------------------------------------------------------ making them
def test_two_databases_of_a_cluster_may_be_set_up_at_the_same_time(
    platform: Platform, cluster: Cluster, django_db_blocker: DjangoDbBlocker
) -> None:
    """Three processes, and roles that do not exist yet."""
    urls = [cluster.make(), cluster.make()]
    prefix = f"{PREFIX}x"
    try:
        running = []
        for number in range(3):
            env = platform._environment("setup", {"DATABASE_URL": urls[number % 2], "DATABASE_ROLES": prefix}, [])
            command = [sys.executable, "manage.py", "setup_roles"]
            running.append(
                subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )
        said = [process.communicate() for process in running]
        assert [process.returncode for process in running] == [0] * 3, said
    finally:
        for url in urls:
            cluster.drop(url)
        forget_roles(cluster.url, f"{prefix}_app", f"{prefix}_reader", f"{prefix}_admin")


def test_who_may_not_make_roles_is_told_which(platform: Platform) -> None:
    """The owner of the tables need not be able to make roles; then a superuser makes three."""
    with django_on(app_url(platform)), override_settings(DATABASE_ROLES=f"{PREFIX}y", DATABASE_URL="postgresql:///x"):
        with pytest.raises(CommandError) as refusal:
            call_command("setup_roles")
        text = str(refusal.value)
    assert f"The role {PREFIX}_app may not make roles." in text
    assert all(f"create role {PREFIX}y_{name};" in text for name in ("app login", "reader", "admin"))


def test_a_role_that_could_do_too_much_is_refused(platform: Platform) -> None:
    role = sql.Identifier(f"{PREFIX}_reader")
    platform._link.execute(sql.SQL("alter role {} createdb").format(role))
    try:
        with pytest.raises(CommandError, match=f"alter role {PREFIX}_reader nocreatedb"):
            call_command("setup_roles")
    finally:
        platform._link.execute(sql.SQL("alter role {} nocreatedb").format(role))


def test_a_role_that_has_the_rights_of_a_stronger_one_is_refused(platform: Platform) -> None:
    app, reader = sql.Identifier(f"{PREFIX}_app"), sql.Identifier(f"{PREFIX}_reader")
    platform._link.execute(sql.SQL("grant {} to {}").format(app, reader))
    try:
        with pytest.raises(CommandError, match=f"revoke {PREFIX}_app from {PREFIX}_reader;"):
            call_command("setup_roles")
    finally:
        platform._link.execute(sql.SQL("revoke {} from {}").format(app, reader))


def test_a_table_of_somebody_else_with_another_kind_of_project_does_no_harm(platform: Platform) -> None:
    platform.execute("create table other_project (project_id int)")
    try:
        roles.set_up()
        assert roles.faults() == []
        question = "select has_table_privilege(%s, 'other_project', 'select')"
        assert not platform.value(question, f"{PREFIX}_reader")
    finally:
        platform.execute("drop table other_project")


def test_a_production_process_that_is_the_owner_is_warned_of(platform: Platform) -> None:
    def warned() -> bool:
        return "platform.W003" in {message.id for message in checks._database()}

    with override_settings(PROFILE="production"):
        assert warned()
        with django_on(app_url(platform)):
            assert not warned()
    assert not warned()


def app_url(platform: Platform) -> str:
    return login(platform.database_url, f"{PREFIX}_app")
