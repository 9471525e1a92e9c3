"""What a role may do in PostgreSQL, as SQL that can be run again.

The operator owns schemas and tables. A new version of a read model gets its grants when it is
created (`version_grants`). Only roles that may use the home schema get any: a login of another
program with such a name gets nothing, and where nobody set roles up, nothing is granted.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, LiteralString

from psycopg import sql

from runtime.roles.table import OPERATOR, Role, login, roles
from runtime.settings import Settings

ON_DATABASE: Final[Mapping[str, LiteralString]] = {
    "migrate": "CONNECT, CREATE, TEMPORARY",
    "project": "CONNECT, TEMPORARY",  # new rows are copied into a temporary table
    "read": "CONNECT",
}
# Rows may be changed, vacuumed and reindexed, but no table created, altered or dropped.
ON_TABLES: Final[Mapping[str, LiteralString]] = {
    "project": "SELECT, INSERT, UPDATE, DELETE, MAINTAIN",
    "read": "SELECT",
}

_CREATE_ROLE: Final = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {name}) THEN
        CREATE ROLE {role} LOGIN;
    END IF;
END $$"""
_GRANT_ON_DATABASE: Final = """
DO $$ BEGIN
    EXECUTE format('GRANT {what} ON DATABASE %I TO %I', current_database(), {name});
END $$"""
_CREATE_HOME: Final = "CREATE SCHEMA IF NOT EXISTS {home} AUTHORIZATION {operator}"
# Of what an earlier setup with a single login created.
_TAKE_OVER: Final = """
DO $$ DECLARE thing text; BEGIN
    FOR thing IN
        SELECT format('SCHEMA %I', nspname) FROM pg_namespace
        WHERE nspname = {home_name} OR nspname ~ {versions}
        UNION ALL
        SELECT format('TABLE %I.%I', nspname, relname)
        FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE relkind IN ('r', 'v') AND (nspname = {home_name} OR nspname ~ {versions})
    LOOP
        EXECUTE format('ALTER %s OWNER TO %I', thing, {operator_name});
    END LOOP;
END $$"""
_USE_HOME: Final = "GRANT USAGE ON SCHEMA {home} TO {role}"
# The views that clients query, those that later releases add among them.
_READ_HOME: Final = (
    "GRANT SELECT ON ALL TABLES IN SCHEMA {home} TO {role}",
    """
ALTER DEFAULT PRIVILEGES FOR ROLE {operator} IN SCHEMA {home}
GRANT SELECT ON TABLES TO {role}""",
)
# They say nothing about users.
_LIST_VERSIONS: Final = "GRANT SELECT ON {home}.model_versions TO {role}"
_USE_VERSION: Final = "GRANT USAGE ON SCHEMA {schema} TO {role}"
_ON_VERSION: Final = "GRANT {what} ON ALL TABLES IN SCHEMA {schema} TO {role}"
# Of versions that exist already.
_GRANT_EXISTING: Final = """
DO $$ DECLARE version text; BEGIN
    FOR version IN SELECT nspname FROM pg_namespace WHERE nspname ~ {versions} LOOP
        EXECUTE format('GRANT SELECT ON {home}.model_versions TO %I', {name});
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', version, {name});
        EXECUTE format('GRANT {what} ON ALL TABLES IN SCHEMA %I TO %I', version, {name});
    END LOOP;
END $$"""


def home_schema(settings: Settings) -> str:
    """Return the PostgreSQL schema of the published views; there is one per prefix."""
    return settings.named("rollbook").replace("-", "_")


def version_schema(settings: Settings, read_model: str, number: int) -> str:
    """Return the PostgreSQL schema with the tables of one version of a read model."""
    return f"{home_schema(settings)}_{read_model}_{number}"


def postgres_statements(settings: Settings, only: Collection[str] = ()) -> list[str]:
    """Return what creates the logins, without passwords, and grants what each needs. Idempotent.

    For a superuser, in the database of the setting `postgres_url`; again once a custom read model
    was added. With `only`, for these roles; the others' grants need the operator's. Schemas and
    tables that another login created become the operator's.
    """
    using = [role for role in roles(settings).values() if role.postgres]
    statements: list[str] = []
    for role in using:
        if not only or role.name in only:
            statements += _statements(settings, role, [one.read_model for one in using])
    return statements


def _statements(settings: Settings, role: Role, read_models: Sequence[str]) -> Iterator[str]:
    home, name = home_schema(settings), login(settings, role.name)
    operator = login(settings, OPERATOR)
    parts = {
        "home": sql.Identifier(home),
        "home_name": sql.Literal(home),
        "operator": sql.Identifier(operator),
        "operator_name": sql.Literal(operator),
        "role": sql.Identifier(name),
        "name": sql.Literal(name),
        "versions": _pattern(home, [role.read_model] if role.read_model else read_models),
    }
    texts: list[LiteralString] = [_CREATE_ROLE, _GRANT_ON_DATABASE]
    if role.name == OPERATOR:
        texts += [_CREATE_HOME, _TAKE_OVER]
    else:
        texts += [_USE_HOME, *(_READ_HOME if role.postgres == "read" else ()), _GRANT_EXISTING]
    for text in texts:
        what = ON_DATABASE if text is _GRANT_ON_DATABASE else ON_TABLES
        filled = parts | {"what": sql.SQL(what.get(role.postgres, ""))}
        yield sql.SQL(text).format(**filled).as_string(None).strip()


def version_grants(
    settings: Settings, read_model: str, number: int
) -> dict[str, list[sql.Composed]]:
    """Return login → the grants that it needs on a new version, for the owner of its tables."""
    found = {}
    for role in roles(settings).values():
        if role.postgres == "read" or (role.postgres and role.read_model == read_model):
            parts = {
                "home": sql.Identifier(home_schema(settings)),
                "schema": sql.Identifier(version_schema(settings, read_model, number)),
                "role": sql.Identifier(login(settings, role.name)),
                "what": sql.SQL(ON_TABLES[role.postgres]),
            }
            texts = (_LIST_VERSIONS, _USE_VERSION, _ON_VERSION)
            found[login(settings, role.name)] = [sql.SQL(text).format(**parts) for text in texts]
    return found


def _pattern(home: str, read_models: Iterable[str]) -> sql.Literal:
    """Return a regular expression for the schemas of all versions of some read models."""
    names = "|".join(re.escape(name) for name in read_models if name)
    return sql.Literal(f"^{home}_({names})_[0-9]+$")
