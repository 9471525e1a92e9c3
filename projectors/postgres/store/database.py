"""One connection to PostgreSQL, opened on first use, whose errors say what to do next."""

import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Final, LiteralString

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from projectors.postgres.store.tls import tls_trouble
from runtime.roles.postgres import home_schema, version_schema
from runtime.settings import Settings
from schemas.errors import (
    CHECK_SERVER,
    GRANT,
    Forbidden,
    Misconfigured,
    Poisoned,
    RollbookError,
    Unavailable,
)

CONNECT_TIMEOUT_SECONDS = 5
# With other clients, the second session may by chance be another than the first.
_POOLER_TRIES: Final = 3
_PID: Final = "SELECT pg_backend_pid()"
MISSING = "read_model_missing"

_SESSION: Final = {
    # The environment (PGCLIENTENCODING), the URL or the role may say otherwise.
    "client_encoding": "UTF8",
    "timezone": "UTC",
    "jit": "off",  # our statements are short; compiling one would take longer than running it
}


def statement_timeout(seconds: float | None) -> dict[str, str]:
    """Return the setting of a session that aborts statements after `seconds`; none for None."""
    return {} if seconds is None else {"statement_timeout": str(int(seconds * 1000))}


class Database:
    """One connection in autocommit mode; after it fails, the next use opens a new one.

    `session` are further settings of PostgreSQL's sessions. `read_model` and `version` say
    whose tables are used; with version None, the published views, which show the live version.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        read_model: str = "postgres",
        version: int | None = None,
        session: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home_schema(settings)
        self.schema = (
            self.home if version is None else version_schema(settings, read_model, version)
        )
        self._settings = settings
        self._read_model = read_model
        self._session = {**_SESSION, **(session or {})}
        self._connection: psycopg.Connection[Any] | None = None

    def statement(self, text: LiteralString, **parts: sql.Composable) -> sql.Composed:
        """Return `text` with `{schema}`, `{home}` and the other parts filled in and quoted."""
        names = {"schema": sql.Identifier(self.schema), "home": sql.Identifier(self.home)}
        return sql.SQL(text).format(**names, **parts)

    @contextmanager
    def session(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend the connection.

        Raises `Unavailable` (`postgres_unavailable`, or `read_model_missing` if the tables do not
        exist), `Forbidden` (`postgres_forbidden`, or what is wrong with TLS), `Poisoned`
        (`postgres_refused`) for a value that PostgreSQL cannot store. No error repeats PostgreSQL's
        DETAIL or a value, because they contain personal data.
        """
        try:
            yield self._open()
        except psycopg.Error as error:
            if is_temporary(error):
                self.close()  # the next attempt may reach another server, or one that has recovered
            raise self.explained(error) from None

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            connection = self._connect()
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(**self.connect_options())

    def connect_options(self) -> dict[str, Any]:
        """Return what a connection is opened with."""
        return {
            "conninfo": self._settings.postgres_url,
            "password": self._settings.secret("postgres_password") or None,
            "autocommit": True,
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": "rollbook",
            # Here too: with another one, perhaps an unknown one, no statement might get through.
            "client_encoding": "UTF8",
            # A server that disappears without closing is noticed in seconds instead of hours.
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        }

    def session_statement(self) -> tuple[sql.Composed, list[str]]:
        """Return what gives a new session its settings; its first column is the server's pid."""
        columns = sql.SQL(", ").join([sql.SQL("set_config(%s, %s, false)")] * len(self._session))
        settings = [text for setting in self._session.items() for text in setting]
        return sql.SQL("SELECT pg_backend_pid(), {}").format(columns), settings

    def _prepare(self, connection: psycopg.Connection[Any]) -> None:
        """Give a new session its settings.

        They are no options of the connection, which PgBouncer refuses. Raises `Misconfigured`
        (`shared_sessions`) if a pooler gives the session to others between transactions.
        """
        pid = connection.execute(*self.session_statement()).fetchall()[0][0]
        if pid == connection.info.backend_pid:
            return  # no pooler
        for _ in range(_POOLER_TRIES):
            with closing(self._connect()) as other:
                mine = connection.execute(_PID).fetchall()
                if other.execute(_PID).fetchall() == mine:
                    raise Misconfigured(
                        f"PostgreSQL at {self._address()} is behind a pooler that shares sessions "
                        "between clients, such as PgBouncer with pool_mode = transaction",
                        code="shared_sessions",
                        next_step="set pool_mode = session, or connect without the pooler",
                    )

    def check_pooler(self) -> None:
        """Open a session and close it. Raises `Misconfigured` (`shared_sessions`)."""
        with self.session():
            self.close()

    def explained(self, error: psycopg.Error) -> RollbookError:
        """Return what an error of PostgreSQL means; see `session`."""
        if isinstance(error, _MISSING):
            return Unavailable(
                f"PostgreSQL schema {self.schema} has no read model {self._read_model}",
                code=MISSING,
                next_step=f"`rollbook projector run {self._read_model}` (or `rollbook up`) "
                "builds it",
            )
        if isinstance(error, _TOOK_TOO_LONG):
            return Unavailable(
                f"PostgreSQL at {self._address()} aborted a transaction that took too long",
                code="postgres_unavailable",
            )
        if isinstance(error, _REFUSED):
            return Poisoned(
                f"PostgreSQL cannot store a value: {_kind(error)}", code="postgres_refused"
            )
        if _is_denied(error) or is_temporary(error):
            return self._no_access(error)
        if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
            return Misconfigured(
                "the setting postgres_url is not a PostgreSQL URL",
                code="bad_setting",
                next_step="correct it; `rollbook config show` shows where it is set",
            )
        return RollbookError(f"PostgreSQL failed: {_kind(error)}", code="postgres_failed")

    def _no_access(self, error: psycopg.Error) -> Unavailable | Forbidden:
        where = f"PostgreSQL at {self._address()}"
        if error.sqlstate is None and (trouble := tls_trouble(self._settings, str(error))):
            return trouble
        if _is_denied(error):
            return Forbidden(
                f"{where} denies access: {_reason(error)}",
                code="postgres_forbidden",
                next_step=GRANT,
            )
        return Unavailable(
            f"{where} failed: {_reason(error)}",
            code="postgres_unavailable",
            next_step=CHECK_SERVER,
        )

    def _address(self) -> str:
        parts = conninfo_to_dict(self._settings.postgres_url)
        return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}"


_MISSING = (errors.UndefinedTable, errors.InvalidSchemaName)
_TOOK_TOO_LONG = (errors.TransactionTimeout, errors.IdleInTransactionSessionTimeout)
# Checked before OperationalError, of which ProgramLimitExceeded (a text too long for an index) is a
# subclass.
_REFUSED = (psycopg.DataError, psycopg.IntegrityError, errors.ProgramLimitExceeded)
# Classes of SQLSTATE that say nothing about the statement: 08 connection, 25 transaction state (a
# server that became read-only in a failover), 53 resources, 57 shutdown, 58 and XX the server's own
# files. psycopg maps 25 and XX to InternalError.
_TEMPORARY = {"08", "25", "53", "57", "58", "XX"}


def is_temporary(error: psycopg.Error) -> bool:
    """Return whether the same statement may succeed later, on a new connection."""
    if isinstance(error, _REFUSED):
        return False
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return True
    return (error.sqlstate or "")[:2] in _TEMPORARY


# An attempt to connect that fails has no SQLSTATE, only the server's message.
_LOGIN_REFUSED = re.compile(
    r"authentication failed|no pg_hba\.conf entry|no password supplied|is not permitted to log in"
    r"|pg_hba\.conf rejects connection|permission denied for database|role .* does not exist"
)


def _is_denied(error: psycopg.Error) -> bool:
    """Return whether the login is refused or a privilege is missing."""
    if error.sqlstate is not None:
        return isinstance(error, errors.InsufficientPrivilege) or error.sqlstate.startswith("28")
    return isinstance(error, psycopg.OperationalError) and bool(_LOGIN_REFUSED.search(str(error)))


def _reason(error: psycopg.Error) -> str:
    """Return the main message, which names objects and roles but no values."""
    return error.diag.message_primary or (str(error).splitlines() or [""])[0]


def _kind(error: psycopg.Error) -> str:
    return " ".join(filter(None, (error.sqlstate, type(error).__name__)))
