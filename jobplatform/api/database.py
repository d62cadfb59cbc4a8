"""The ground's view of PostgreSQL: what went wrong and may be tried again, and statements for the hottest paths."""

import random
import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db import Error as DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

T = TypeVar("T")
RawConnection = psycopg.Connection[Any]


class Trouble(Enum):
    """What a database error means to whoever asked."""

    UNREACHABLE = "no connection, no room for one, or a server that takes no writes just now"
    CONFLICT = "deadlock or serialization failure: the same again may succeed"
    BUSY = "a lock or a statement took longer than it may"
    BAD_VALUE = "a value that PostgreSQL cannot take"
    OURS = "a fault of this program"


# SQLSTATE codes and classes: https://www.postgresql.org/docs/current/errcodes-appendix.html
_BY_CODE = {
    "40001": Trouble.CONFLICT,  # serialization_failure
    "40P01": Trouble.CONFLICT,  # deadlock_detected
    "55P03": Trouble.BUSY,  # lock_not_available
    "57014": Trouble.BUSY,  # query_canceled: statement_timeout
    "25006": Trouble.UNREACHABLE,  # read_only_sql_transaction: a standby, or fail-over under way
    "25P03": Trouble.UNREACHABLE,  # idle_in_transaction_session_timeout
    "25P04": Trouble.UNREACHABLE,  # transaction_timeout
    "57P01": Trouble.UNREACHABLE,  # admin_shutdown
    "57P02": Trouble.UNREACHABLE,  # crash_shutdown
    "57P03": Trouble.UNREACHABLE,  # cannot_connect_now
    "57P04": Trouble.UNREACHABLE,  # database_dropped
    "57P05": Trouble.UNREACHABLE,  # idle_session_timeout
}
_BY_CLASS = {
    "08": Trouble.UNREACHABLE,  # connection exceptions
    "22": Trouble.BAD_VALUE,  # data exceptions
    "53": Trouble.UNREACHABLE,  # insufficient resources: disk full, too many connections
    "58": Trouble.UNREACHABLE,  # system errors
}


def trouble(exc: BaseException) -> Trouble:
    """Classify an error of Django's database layer or of psycopg itself."""
    original = exc if isinstance(exc, psycopg.Error) else exc.__cause__
    if not isinstance(original, psycopg.Error):
        # Django's own: the connection is closed, or a transaction was used after an error in it.
        return Trouble.UNREACHABLE if type(exc).__name__ == "InterfaceError" else Trouble.OURS
    code = original.sqlstate
    if code:
        return _BY_CODE.get(code) or _BY_CLASS.get(code[:2]) or Trouble.OURS
    if isinstance(original, psycopg.DataError):
        return Trouble.BAD_VALUE  # refused by psycopg before it was sent: NUL in a text, a number out of range
    if (
        isinstance(original, psycopg.OperationalError | psycopg.InterfaceError)
        or type(original) is psycopg.DatabaseError
    ):
        return Trouble.UNREACHABLE  # the connection broke, so there is no code
    return Trouble.OURS


def retry_transient(fn: Callable[[], T], *, attempts: int = 4, using: str = DEFAULT_DB_ALIAS) -> T:
    """Call `fn`, again after a deadlock or a serialization failure, at most `attempts` times in all.

    `fn` owns its transaction. Inside somebody else's transaction nothing can be tried again, so `fn` runs once.
    """
    tries = 1 if connections[using].in_atomic_block else attempts
    for attempt in range(1, tries):
        try:
            return fn()
        except (DatabaseError, psycopg.Error) as exc:
            if trouble(exc) is not Trouble.CONFLICT:
                raise
        # A random pause parts the two that met: 0-10 ms, 0-20 ms, 0-40 ms.
        time.sleep(random.uniform(0, 0.005 * 2**attempt))  # noqa: S311 - not a secret
    return fn()


class Statement:
    """One SQL statement for the hottest paths, prepared once per connection and run with the least work.

    It runs on Django's own connection. Parameters and results are PostgreSQL's texts as bytes, None for null; `$1`,
    `$2` … name the parameters in the SQL. Outside of a transaction it goes past psycopg: that leaves out adaptation,
    locking and the wait loop, which are more than half of a short statement's time. The price: it blocks its thread
    until the server answers, so it belongs in a worker thread, never in an event loop.

    Inside of a transaction it is an ordinary prepared statement of psycopg. After a rollback psycopg drops all prepared
    statements of the connection, ours too; outside of a transaction that is noticed and repaired, inside it cannot be.
    """

    def __init__(self, name: str, sql: str, *, using: str = DEFAULT_DB_ALIAS) -> None:
        self._name = name.encode()
        self._sql = sql
        self._using = using
        self._prepared: WeakKeyDictionary[RawConnection, bool] = WeakKeyDictionary()

    def row(self, *params: bytes | None) -> list[bytes | None] | None:
        """Run it and return the first row, or None. See `rows`."""
        rows = self.rows(*params)
        return rows[0] if rows else None

    def rows(self, *params: bytes | None) -> list[list[bytes | None]]:
        """Run it and return all rows.

        Raises Django's database errors. If the connection turns out to be dead and no transaction is open, it is opened
        anew and the statement runs once more: after a restart of PostgreSQL nobody is sent away for an old connection.
        So a statement that writes must be one that may run twice.
        """
        wrapper = connections[self._using]
        # Only what is not part of a transaction may be done again; on a connection that is new it would not help.
        again = wrapper.connection is not None and wrapper.autocommit and not wrapper.in_atomic_block
        try:
            return self._run(wrapper, params)
        except DatabaseError as error:
            if not again or not self._recovered(wrapper, error):
                raise
        return self._run(wrapper, params)

    def _run(self, wrapper: BaseDatabaseWrapper, params: Sequence[bytes | None]) -> list[list[bytes | None]]:
        wrapper.ensure_connection()
        raw: RawConnection = wrapper.connection
        with wrapper.wrap_database_errors:
            if raw.autocommit and raw.pgconn.transaction_status == TransactionStatus.IDLE:
                result = self._past_psycopg(raw, params)
            else:
                result = self._through_psycopg(raw, params)
        columns = range(result.nfields)
        return [[result.get_value(row, column) for column in columns] for row in range(result.ntuples)]

    def _past_psycopg(self, raw: RawConnection, params: Sequence[bytes | None]) -> PGresult:
        if raw not in self._prepared:
            _checked(raw.pgconn.prepare(self._name, self._sql.encode()))
            self._prepared[raw] = True
        # psycopg's type leaves out None, which its code takes for null.
        return _checked(raw.pgconn.exec_prepared(self._name, params, None, 0))  # type: ignore[arg-type]

    def _through_psycopg(self, raw: RawConnection, params: Sequence[bytes | None]) -> PGresult:
        cursor = psycopg.RawCursor(raw)
        texts = [param if param is None else param.decode() for param in params]
        cursor.execute(self._sql, texts, prepare=True)
        return cast("PGresult", cursor.pgresult)

    def _recovered(self, wrapper: BaseDatabaseWrapper, error: DatabaseError) -> bool:
        """Whether a second try makes sense: the connection was dead, or the server no longer has this statement."""
        raw: RawConnection = wrapper.connection
        code = getattr(error.__cause__, "sqlstate", None)
        # After a crash libpq cannot write, and still calls the connection good: then its error has no code.
        if raw.pgconn.status != ConnStatus.OK or (code is None and trouble(error) is Trouble.UNREACHABLE):
            wrapper.close()
            return True
        if code == "0A000":  # its columns changed under it: a migration
            _checked(raw.pgconn.exec_(b'DEALLOCATE "' + self._name + b'"'))
        if code in {"0A000", "26000"}:  # 26000: unknown, after psycopg's DEALLOCATE ALL
            self._prepared.pop(raw, None)
            return True
        return False


def _checked(result: PGresult) -> PGresult:
    if result.status in {ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK}:
        return result
    error = error_from_result(result)
    # Without a code it was libpq that failed, not a statement: the connection is gone.
    raise error if error.sqlstate else psycopg.OperationalError(str(error))
