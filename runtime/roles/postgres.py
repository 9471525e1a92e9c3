"""What a role may do in PostgreSQL, as SQL that can be run again.

The operator owns schemas and tables. A new version of a read model gets its grants when it is
created (`version_grants`). Only roles that may use the home schema get any: a login of another
program with such a name gets nothing, and where nobody set roles up, nothing is granted.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final, LiteralString

from psycopg import sql

from runtime.roles.table import OPERATOR, Role, login, roles
from runtime.settings import Settings

_ON_DATABASE: Final[Mapping[str, LiteralString]] = {
    "migrate": "CONNECT, CREATE, TEMPORARY",
    "project": "CONNECT, TEMPORARY",  # new rows are copied into a temporary table
    "read": "CONNECT",
}
# Rows may be changed, vacuumed and reindexed, but no table created, altered or dropped.
_ON_TABLES: Final[Mapping[str, LiteralString]] = {
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


def postgres_statements(settings: Settings) -> list[str]:
    """Return what creates the logins, without passwords, and grants what each needs. Idempotent.

    For a superuser, in the database of the setting `postgres_url`; again once a custom read model
    was added. Schemas and tables that another login created become the operator's.
    """
    using = [role for role in roles(settings).values() if role.postgres]
    parts = _parts(settings, using)
    statements = []
    for role in using:
        mine = parts | _names(settings, role)
        what = sql.SQL(_ON_DATABASE[role.postgres])
        statements += [_sql(_CREATE_ROLE, mine), _sql(_GRANT_ON_DATABASE, mine | {"what": what})]
    statements += [_sql(_CREATE_HOME, parts), _sql(_TAKE_OVER, parts)]
    for role in using:
        if role.postgres in _ON_TABLES:
            statements += _grants(settings, role, parts)
    return statements


def _grants(settings: Settings, role: Role, parts: Mapping[str, sql.Composable]) -> Iterator[str]:
    """Yield what lets a role other than the operator use the schemas that exist."""
    mine = {**parts, **_names(settings, role)}
    mine["what"] = sql.SQL(_ON_TABLES[role.postgres])
    if role.read_model:
        mine["versions"] = _pattern(settings, [role.read_model])
    yield _sql(_USE_HOME, mine)
    if role.postgres == "read":
        yield from (_sql(text, mine) for text in _READ_HOME)
    yield _sql(_GRANT_EXISTING, mine)


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
                "what": sql.SQL(_ON_TABLES[role.postgres]),
            }
            texts = (_LIST_VERSIONS, _USE_VERSION, _ON_VERSION)
            found[login(settings, role.name)] = [sql.SQL(text).format(**parts) for text in texts]
    return found


def _parts(settings: Settings, using: list[Role]) -> dict[str, sql.Composable]:
    home, operator = home_schema(settings), login(settings, OPERATOR)
    return {
        "home": sql.Identifier(home),
        "home_name": sql.Literal(home),
        "operator": sql.Identifier(operator),
        "operator_name": sql.Literal(operator),
        "versions": _pattern(settings, [role.read_model for role in using if role.read_model]),
    }


def _names(settings: Settings, role: Role) -> dict[str, sql.Composable]:
    name = login(settings, role.name)
    return {"role": sql.Identifier(name), "name": sql.Literal(name)}


def _pattern(settings: Settings, read_models: list[str]) -> sql.Literal:
    """Return a regular expression for the schemas of all versions of some read models."""
    names = "|".join(map(re.escape, read_models))
    return sql.Literal(f"^{home_schema(settings)}_({names})_[0-9]+$")


def _sql(text: LiteralString, parts: Mapping[str, sql.Composable]) -> str:
    return sql.SQL(text).format(**parts).as_string(None).strip()
