"""Everything that a login can try at PostgreSQL; what it may do is rolled back."""

from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Final, LiteralString

import psycopg
from psycopg import errors, sql

from runtime.settings import Settings
from tests.integration.access.roles.web import Attempts

_ON_TABLE: Final[dict[str, LiteralString]] = {
    "SELECT": "SELECT FROM {table}",
    "INSERT": "INSERT INTO {table} DEFAULT VALUES",
    "UPDATE": "UPDATE {table} SET {column} = {column}",
    "DELETE": "DELETE FROM {table}",
    "TRUNCATE": "TRUNCATE {table}",
    "REINDEX": "REINDEX TABLE {table}",
    "ALTER": "ALTER TABLE {table} OWNER TO {me}",
    "DROP": "DROP TABLE {table} CASCADE",
    "GRANT": "GRANT SELECT ON {table} TO public",
}
_ON_VIEW: Final[dict[str, LiteralString]] = {
    "SELECT": "SELECT FROM {table}",
    "UPDATE": "UPDATE {table} SET {column} = {column}",
    "DELETE": "DELETE FROM {table}",
    "ALTER": "ALTER VIEW {table} OWNER TO {me}",
    "DROP": "DROP VIEW {table} CASCADE",
    "GRANT": "GRANT SELECT ON {table} TO public",
}
_ON_SCHEMA: Final[dict[str, LiteralString]] = {
    "CREATE-TABLE": "CREATE TABLE {schema}.more (number integer)",
    "CREATE-VIEW": "CREATE VIEW {schema}.more AS SELECT 1 AS number",
    "ALTER-SCHEMA": "ALTER SCHEMA {schema} OWNER TO {me}",
    "DROP-SCHEMA": "DROP SCHEMA {schema} CASCADE",
    "GRANT-USAGE": "GRANT USAGE ON SCHEMA {schema} TO public",
}
_ON_SERVER: Final[dict[str, LiteralString]] = {
    "CREATE-TEMPORARY-TABLE": "CREATE TEMPORARY TABLE more (number integer)",
    "CREATE-SCHEMA": "CREATE SCHEMA more",
    "CREATE-ROLE": "CREATE ROLE more",
    "CREATE-TABLE-in-public": "CREATE TABLE public.more (number integer)",
    "CREATE-EXTENSION": "CREATE EXTENSION pageinspect",
    "ALTER-DATABASE": "ALTER DATABASE {database} SET jit = on",
    "ALTER-own-role": "ALTER ROLE {me} SUPERUSER",
    "read-a-file": "SELECT pg_read_file('PG_VERSION')",
    "run-a-program": "COPY (SELECT 1) TO PROGRAM 'true'",
    "read-passwords": "SELECT FROM pg_authid",
}
# Nobody may, and it would not be rolled back.
_FOR_GOOD: Final[dict[str, LiteralString]] = {
    "CREATE-DATABASE": "CREATE DATABASE more",
    "ALTER-SYSTEM": "ALTER SYSTEM SET jit = on",
}
_RELATIONS: Final = """
SELECT relname, relkind::text,
    (SELECT attname FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum = 1)
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = %s AND relkind IN ('r', 'v') ORDER BY relname"""
# A view of a sum, which nobody can change, is reported before a privilege is looked for.
_REFUSED: Final = (errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState)
# To grant what one may not grant is a mere warning.
_NOT_GRANTED: Final = "01007"


def attempts(settings: Settings, schemas: Mapping[str, str], roles: Iterable[str]) -> Attempts:
    """Return attempt → whether it was permitted: on all of `schemas` (label → name), the server.

    `roles` are other logins whose rights it tries to take.
    """
    password = settings.postgres_password
    with closing(
        psycopg.connect(settings.postgres_url, password=password, autocommit=True)
    ) as session:
        tried = _Session(session)
        for label, schema in schemas.items():
            named = sql.Identifier(schema)
            for what, statement in _ON_SCHEMA.items():
                tried.add(what, label, statement, {"schema": named})
            for name, kind, column in session.execute(_RELATIONS, [schema]).fetchall():
                parts = {"table": sql.Identifier(schema, name), "column": sql.Identifier(column)}
                for what, statement in (_ON_VIEW if kind == "v" else _ON_TABLE).items():
                    tried.add(what, f"{label}.{name}", statement, parts)
        for what, statement in _ON_SERVER.items():
            tried.add(what, "server", statement)
        for what, statement in _FOR_GOOD.items():
            tried.add(what, "server", statement, for_good=True)
        for role in roles:
            tried.add("SET-ROLE", role, "SET ROLE {role}", {"role": sql.Identifier(role)})
        return tried.found


def is_refused(settings: Settings) -> bool:
    """Return whether the login itself is refused."""
    try:
        psycopg.connect(settings.postgres_url, password=settings.postgres_password).close()
    except psycopg.OperationalError as error:
        return "authentication failed" in str(error)
    return False


class _Session:
    """Tries statements; `found` says which were permitted."""

    def __init__(self, session: psycopg.Connection[tuple[str, ...]]) -> None:
        self.found: Attempts = {}
        self._session = session
        info = session.info
        self._warnings: list[str | None] = []
        session.add_notice_handler(lambda notice: self._warnings.append(notice.sqlstate))
        self._names = {"me": sql.Identifier(info.user), "database": sql.Identifier(info.dbname)}

    def add(
        self,
        what: str,
        where: str,
        statement: LiteralString,
        parts: Mapping[str, sql.Composable] | None = None,
        *,
        for_good: bool = False,
    ) -> None:
        """Try a statement, in a transaction that is rolled back unless `for_good`."""
        text = sql.SQL(statement).format(**self._names, **(parts or {}))
        self._warnings.clear()
        try:
            if for_good:
                self._session.execute(text)
            else:
                with self._session.transaction(force_rollback=True):
                    self._session.execute(text)
        except _REFUSED:
            self.found[what, where] = False
        except psycopg.IntegrityError:  # a row of nothing but defaults
            self.found[what, where] = True
        else:
            self.found[what, where] = _NOT_GRANTED not in self._warnings
