"""Roles of the database: the owner changes the schema, the app works on it, reader and admin see one project each.

`set_up()` compares what the catalog says with what is wanted and executes the difference, so running it again changes
nothing, and what somebody granted by hand to one of the three roles is taken back. It is run by the owner. `faults()`
says what still differs.

Hot statements carry the project's id themselves, so the app's policy is `true` and vanishes from their plans. For the
two roles of people the policy is the project of the session: `set jobplatform.project = '<id>'`.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, LiteralString, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg
from django.conf import settings
from django.db import connection, transaction
from psycopg import sql

from events import log

PROJECTS = "projects_project"  # the one table whose own id is the project
APPEND_ONLY = {"events_event", "events_auditrecord"}
READ_ONLY = {"django_migrations"}
SHARED = {"events_clock", "events_era", "events_consumer", "jobs_worker"}
"""Tables without a project that tell nothing of any: people may read them."""
HIDDEN = {"api_idempotency"}
"""Tables of a project that people may not read: stored answers, one of which may hold a key."""
SECRET = re.compile(r"(^|_)(hash|hashes|password|passwords|secret|secrets|token|tokens|sealed|private|keystore)(_|$)")
"""Columns that people may not read, in whatever table."""
OPEN = {"events_auditrecord"}
"""Tables whose hashes are no secret: they are seals, made with a key that is not in the database."""
APP_SEALS = {"events_auditrecord": {"chain_no", "prev_hash", "hash"}}
"""The columns of append-only tables that the app fills in later; a trigger lets it do so once."""
ADMIN_UPDATES = {"jobs_shelf": {"paused", "weight"}}
ADMIN_INSERTS = {"events_auditrecord"}

_THIS_PROJECT = "(select nullif(current_setting('jobplatform.project', true), '')::uuid)"
_UNSAFE = ("nosuperuser", "nobypassrls", "nocreaterole", "nocreatedb", "noreplication")
_NOT_ABOVE = (
    "pg_read_all_data",
    "pg_write_all_data",
    "pg_read_server_files",
    "pg_write_server_files",
    "pg_execute_server_program",
)
"""Roles that reach around what is granted here."""
_LOCK = "select pg_advisory_lock(hashtext('jobplatform.roles'))"
_UNLOCK = "select pg_advisory_unlock(hashtext('jobplatform.roles'))"

Kind = Literal["table", "sequence", "function", "schema", "tables", "sequences"]
_PRIVILEGES: dict[str, sql.SQL] = {
    "SELECT": sql.SQL("select"),
    "INSERT": sql.SQL("insert"),
    "UPDATE": sql.SQL("update"),
    "DELETE": sql.SQL("delete"),
    "TRUNCATE": sql.SQL("truncate"),
    "REFERENCES": sql.SQL("references"),
    "TRIGGER": sql.SQL("trigger"),
    "MAINTAIN": sql.SQL("maintain"),
    "USAGE": sql.SQL("usage"),
    "EXECUTE": sql.SQL("execute"),
    "CREATE": sql.SQL("create"),
}
_KINDS: dict[Kind, sql.SQL] = {
    "table": sql.SQL("table"),
    "sequence": sql.SQL("sequence"),
    "function": sql.SQL("function"),
    "schema": sql.SQL("schema"),
    "tables": sql.SQL("tables"),  # the two of default privileges
    "sequences": sql.SQL("sequences"),
}


class RolesRefused(RuntimeError):
    """The roles cannot be made or must not be used; the text says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Names of the three roles beside the owner."""

    app: str
    reader: str
    admin: str

    def __iter__(self) -> Iterator[str]:
        return iter((self.app, self.reader, self.admin))


class Right(NamedTuple):
    """One privilege of one role. `role` is empty for PUBLIC, `column` for the whole object."""

    role: str
    kind: Kind
    name: str
    column: str
    privilege: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the owner, as far as it matters here."""

    name: str
    partition: bool
    columns: tuple[str, ...]
    project: str  # the column with the project's id; empty where there is none
    secured: bool
    policies: dict[str, tuple[str, ...]]  # by name: roles, command, using, check


def login() -> tuple[str, str]:
    """User and password of DATABASE_URL; empty where it names none."""
    parts = urlsplit(settings.DATABASE_URL)
    query = parse_qs(parts.query)
    return (
        unquote(parts.username or query.get("user", [""])[0]),
        unquote(parts.password or query.get("password", [""])[0]),
    )


def names() -> Roles:
    """The three roles. The app's is that of DATABASE_URL, where that is not the owner's."""
    prefix, user = settings.DATABASE_ROLES, login()[0]
    app = user if user and user != _owner() else f"{prefix}_app"
    return Roles(app, f"{prefix}_reader", f"{prefix}_admin")


def set_up() -> int:
    """Bring roles, rights and policies of this database to what is wanted. Returns how many statements it took.

    Databases of one cluster share the roles; any number of callers may run at a time.

    Raises:
        RolesRefused: a role is missing and the current one may not make it, or it could do what it must not.
    """
    log.cursor().execute(_LOCK)
    try:
        roles = names()
        done = _make_roles(roles)
        wrong = [*_dangerous(roles)]
        if wrong:
            raise RolesRefused(" ".join(wrong))
        for table in _tables(roles):
            done += _run(_secure(table, roles))
        return done + _run(_difference(roles))
    finally:
        if not connection.needs_rollback:
            log.cursor().execute(_UNLOCK)


def faults() -> list[str]:
    """What differs from what is wanted, one sentence each; empty after `set_up()`."""
    roles = names()
    missing = _missing(roles)
    if missing:
        return [f"The role {name} is missing." for name in missing]
    found = _dangerous(roles)
    found += [
        f"The table {table.name} lacks row-level security or a policy, or has one too many."
        for table in _tables(roles)
        if _secure(table, roles)
    ]
    return [*found, *(f"Not done: {statement.as_string(connection.connection)}." for statement in _difference(roles))]


# ------------------------------------------------------------------------------------------------ roles
def _owner() -> str:
    return str(_rows("select current_user")[0][0])


def _missing(roles: Roles) -> list[str]:
    known = {row[0] for row in _rows("select rolname from pg_roles where rolname = any(%s)", list(roles))}
    return [name for name in roles if name not in known]


def _make_roles(roles: Roles) -> int:
    done = 0
    missing = _missing(roles)
    for name in missing:
        try:
            done += _make_role(name)
        except psycopg.errors.InsufficientPrivilege as error:
            message = (
                f"The role {_owner()} may not make roles. Let a superuser run: "
                + " ".join(f"create role {other}{' login' if other == roles.app else ''};" for other in missing)
                + " Then run this again."
            )
            raise RolesRefused(message) from error
    done += _let_in(roles.app)
    # With these it sees the transactions of others too, and ends those that hold back the log.
    for right in ("pg_monitor", "pg_signal_backend"):
        if not _rows("select pg_has_role(%s, %s, 'usage')", roles.app, right)[0][0]:
            done += _try(sql.SQL("grant {} to {}").format(sql.Identifier(right), sql.Identifier(roles.app)))
    return done


def _make_role(name: str) -> int:
    statement = sql.SQL("create role {} nologin nosuperuser nobypassrls nocreatedb nocreaterole noreplication")
    try:
        return _run([statement.format(sql.Identifier(name))])
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        return 0  # made at this moment from another database of the cluster


def _let_in(app: str) -> int:
    """Let the app log in with the password of DATABASE_URL, unless it may log in already."""
    user, password = login()
    if not password or user != app or _rows("select rolcanlogin from pg_roles where rolname = %s", app)[0][0]:
        return 0
    # Hashed here: the password itself would stand in the server's log of statements.
    server = connection.connection.pgconn
    verifier = server.encrypt_password(password.encode(), app.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("alter role {} login password {}")
    try:
        return _run([statement.format(sql.Identifier(app), sql.Literal(verifier))])
    except psycopg.errors.InsufficientPrivilege as error:
        message = f"The role {_owner()} may not let {app} log in. Let a superuser run: alter role {app} login;"
        raise RolesRefused(message) from error
    except psycopg.errors.InternalError_:
        return 0  # done at this moment from another database of the cluster


def _dangerous(roles: Roles) -> list[str]:
    """What a role could do that none of them must: a sentence each."""
    found = []
    for name, *may in _rows(
        "select rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication"
        " from pg_roles where rolname = any(%s) order by rolname",
        list(roles),
    ):
        options = " ".join(option for option, has in zip(_UNSAFE, may, strict=True) if has)
        if options:
            found.append(f"The role {name} may do too much: alter role {name} {options};")
    for name, group in _rows(
        "select r.rolname, g.rolname from pg_roles r join pg_roles g on pg_has_role(r.oid, g.oid, 'member')"
        " where r.rolname = any(%s) and not r.rolsuper and g.rolname <> r.rolname and g.rolname = any(%s)",
        list(roles),
        [*_NOT_ABOVE, *roles, _owner()],
    ):
        found.append(f"The role {name} has the rights of {group}: revoke {group} from {name};")
    return found


# ------------------------------------------------------------------------------------------------ rows
_TABLES = """
select c.relname, c.relispartition,
       array(select a.attname::text from pg_attribute a
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum),
       coalesce((select a.attname::text from pg_attribute a
                 where a.attrelid = c.oid and not a.attisdropped and a.atttypid = 'uuid'::regtype
                   and a.attname = case when c.relname = %s then 'id' else 'project_id' end), ''),
       c.relrowsecurity
from pg_class c
where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p')
  and c.relowner = current_user::regrole
order by c.relname
"""
_POLICIES = """
select tablename, policyname, array_to_string(roles, ','), permissive || ' ' || cmd,
       coalesce(qual, ''), coalesce(with_check, '')
from pg_policies
where schemaname = current_schema() and roles && %s::name[]
"""
# As Postgres writes it down; the alias differs between versions.
_ONE_PROJECT = re.compile(
    r"\((id|project_id) = \( SELECT \(NULLIF\(current_setting\('jobplatform\.project'::text, true\), ''::text\)\)::uuid"
    r'( AS "?\w+"?)?\)\)'
)


def _tables(roles: Roles) -> list[Table]:
    """The owner's tables in the schema of the platform."""
    policies: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    for table, name, *rest in _rows(_POLICIES, [*roles, "public"]):
        policies[table][name] = tuple(rest)
    return [
        Table(name, partition, tuple(columns), project, secured, policies[name])
        for name, partition, columns, project, secured in _rows(_TABLES, PROJECTS)
    ]


def _secure(table: Table, roles: Roles) -> list[sql.Composed]:
    """What has to be done so that people reach the rows of one project of this table only; nothing where it is done."""
    if not table.project:
        return []
    name = sql.Identifier(table.name)
    wanted = () if table.partition else tuple(roles)  # rows of a partition are reached through its table
    done = [] if table.secured else [sql.SQL("alter table {} enable row level security").format(name)]
    kept = {role for role in wanted if _is_right(table, role, roles)}
    wrong = sorted(table.policies.keys() - kept)
    done += [sql.SQL("drop policy {} on {}").format(sql.Identifier(policy), name) for policy in wrong]
    for role in wanted:
        if role not in kept:
            rule = (
                sql.SQL("true")
                if role == roles.app
                else sql.SQL("{} = {}").format(sql.Identifier(table.project), sql.SQL(_THIS_PROJECT))
            )
            statement = sql.SQL("create policy {} on {} to {} using ({}) with check ({})")
            done.append(statement.format(sql.Identifier(role), name, sql.Identifier(role), rule, rule))
    return done


def _is_right(table: Table, role: str, roles: Roles) -> bool:
    """Whether the role's policy is there and says what it should; it bears the role's name."""
    to, command, using, check = table.policies.get(role, ("", "", "", ""))
    if (to, command) != (role, "PERMISSIVE ALL") or using != check:
        return False
    if role == roles.app:
        return using == "true"
    found = _ONE_PROJECT.fullmatch(using)
    return found is not None and found[1] == table.project


# ------------------------------------------------------------------------------------------------ rights
_RIGHTS = """
with ours as (
    select oid, rolname::text as name from pg_roles where rolname = any(%s)
    union all select 0, ''
),
given (grantee, kind, name, col, privilege) as (
    select a.grantee, 'table', c.relname, '', a.privilege_type
    from pg_class c, aclexplode(c.relacl) a
    where c.relnamespace = current_schema()::regnamespace and c.relowner = current_user::regrole
      and c.relkind in ('r', 'p')
    union all
    select a.grantee, 'table', c.relname, t.attname, a.privilege_type
    from pg_class c join pg_attribute t on t.attrelid = c.oid, aclexplode(t.attacl) a
    where c.relnamespace = current_schema()::regnamespace and c.relowner = current_user::regrole
      and c.relkind in ('r', 'p')
    union all
    select a.grantee, 'sequence', c.relname, '', a.privilege_type
    from pg_class c, aclexplode(c.relacl) a
    where c.relnamespace = current_schema()::regnamespace and c.relowner = current_user::regrole and c.relkind = 'S'
    union all
    select a.grantee, 'function', f.proname, '', a.privilege_type
    from pg_proc f, aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a
    where f.pronamespace = current_schema()::regnamespace and f.proowner = current_user::regrole
      and (a.grantee <> 0 or f.prosecdef)
    union all
    select a.grantee, 'schema', n.nspname, '', a.privilege_type
    from pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
    where n.nspname = current_schema() and (a.grantee <> 0 or a.privilege_type = 'CREATE')
    union all
    select a.grantee, case d.defaclobjtype when 'r' then 'tables' else 'sequences' end, '', '', a.privilege_type
    from pg_default_acl d, aclexplode(d.defaclacl) a
    where d.defaclrole = current_user::regrole and d.defaclobjtype in ('r', 'S')
      and d.defaclnamespace = current_schema()::regnamespace
)
select o.name, g.kind, g.name::text, g.col::text, g.privilege from given g join ours o on o.oid = g.grantee
"""
_OTHERS = """
select case when relkind = 'S' then 'sequence' end, relname::text, false
from pg_class
where relnamespace = current_schema()::regnamespace and relowner = current_user::regrole and relkind = 'S'
union all
select 'function', proname::text, prosecdef
from pg_proc
where pronamespace = current_schema()::regnamespace and proowner = current_user::regrole
"""


def _difference(roles: Roles) -> list[sql.Composed]:
    """The statements between the rights that are and those that should be."""
    given = {Right(*row) for row in _rows(_RIGHTS, list(roles))}
    wanted = set(_wanted(roles))
    return [*_statements(wanted - given, give=True), *_statements(given - wanted, give=False)]


def _wanted(roles: Roles) -> Iterator[Right]:
    schema = str(_rows("select current_schema()")[0][0])
    for role in roles:
        yield Right(role, "schema", schema, "", "USAGE")
    for table in _tables(roles):
        if not table.partition:
            yield from (Right(roles.app, "table", table.name, "", word) for word in _of_app(table))
            yield from (Right(roles.app, "table", table.name, c, "UPDATE") for c in APP_SEALS.get(table.name, ()))
            yield from _of_people(table, roles)
    for kind, name, of_owner in _rows(_OTHERS):
        yield Right(roles.app, kind, name, "", "USAGE" if kind == "sequence" else "EXECUTE")
        if kind == "function" and not of_owner:
            yield from (Right(role, kind, name, "", "EXECUTE") for role in (roles.reader, roles.admin))
    for word in ("SELECT", "INSERT", "UPDATE", "DELETE"):
        yield Right(roles.app, "tables", "", "", word)
    yield Right(roles.app, "sequences", "", "", "USAGE")


def _of_app(table: Table) -> tuple[str, ...]:
    if table.name in READ_ONLY:
        return ("SELECT",)
    return ("SELECT", "INSERT") if table.name in APPEND_ONLY else ("SELECT", "INSERT", "UPDATE", "DELETE")


def _of_people(table: Table, roles: Roles) -> Iterator[Right]:
    if table.name in HIDDEN or not (table.project or table.name in SHARED):
        return
    seen = [column for column in table.columns if table.name in OPEN or not SECRET.search(column)]
    columns = [""] if len(seen) == len(table.columns) else seen
    for role in (roles.reader, roles.admin):
        yield from (Right(role, "table", table.name, column, "SELECT") for column in columns)
    for column in ADMIN_UPDATES.get(table.name, ()):
        yield Right(roles.admin, "table", table.name, column, "UPDATE")
    if table.name in ADMIN_INSERTS:
        yield Right(roles.admin, "table", table.name, "", "INSERT")


def _statements(rights: Iterable[Right], *, give: bool) -> Iterator[sql.Composed]:
    """One statement for all rights of one role on one object."""
    grouped: dict[tuple[str, Kind, str], list[Right]] = defaultdict(list)
    for right in sorted(rights):
        grouped[right.role, right.kind, right.name].append(right)
    for (role, kind, name), few in grouped.items():
        privileges = sql.SQL(", ").join(
            sql.SQL("{} ({})").format(_PRIVILEGES[right.privilege], sql.Identifier(right.column))
            if right.column
            else _PRIVILEGES[right.privilege]
            for right in few
        )
        on = sql.SQL("{}") if not name else sql.SQL("{} {}")
        target = on.format(_KINDS[kind], sql.Identifier(name)) if name else _KINDS[kind]
        begin = (
            sql.SQL("")
            if name
            else sql.SQL("alter default privileges in schema {} ").format(
                sql.Identifier(str(_rows("select current_schema()")[0][0]))
            )
        )
        verb, link = (sql.SQL("grant"), sql.SQL("to")) if give else (sql.SQL("revoke"), sql.SQL("from"))
        who = sql.Identifier(role) if role else sql.SQL("public")
        yield sql.SQL("{}{} {} on {} {} {}").format(begin, verb, privileges, target, link, who)


# ------------------------------------------------------------------------------------------------ the database
def _rows(question: LiteralString, *parameters: object) -> list[Any]:
    with log.cursor() as cur:
        return cur.execute(question, parameters or None, prepare=False).fetchall()


def _run(statements: Iterable[sql.Composed]) -> int:
    """Execute them as one transaction, so that no table is secured without its policies. Returns their number."""
    done = 0
    with transaction.atomic(), log.cursor() as cur:
        for statement in statements:
            cur.execute(statement, prepare=False)
            done += 1
    return done


def _try(statement: sql.Composed) -> int:
    """Execute what the platform can do without; 0 when it is not allowed, or was done elsewhere at this moment."""
    try:
        return _run([statement])
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UniqueViolation):
        return 0
