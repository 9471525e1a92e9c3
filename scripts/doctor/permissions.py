"""Checks what the login of the settings may do in Kafka and PostgreSQL, without trying it out.

Which role the login has is not known, so a missing permission is a problem only for the roles that
`--role` names. What each needs is in `runtime.roles`.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import Final

from confluent_kafka import KafkaException
from psycopg import sql

from projectors.postgres.store.database import Database
from runtime.kafka.clients import REQUEST_TIMEOUT_SECONDS, admin, kafka_available
from runtime.roles.kafka import acl_operations, needed_on_topics
from runtime.roles.table import REGISTRY, KafkaNeed, Role
from runtime.roles.table import roles as all_roles
from runtime.settings import Settings
from runtime.topics.access import denied_operations
from scripts.doctor.finding import Examination, Finding, ok, problem

_GRANT: Final = "grant it (`rollbook acl show` prints how)"
_CREATES: Final = "SELECT has_database_privilege(current_database(), 'CREATE')"
_READS: Final = "SELECT coalesce(has_table_privilege(to_regclass(%s), 'SELECT'), true)"
# The versions of one read model whose rows may not be written.
_NOT_WRITABLE: Final = """
SELECT nspname FROM pg_class JOIN pg_namespace AS space ON space.oid = relnamespace
WHERE nspname ~ %s AND relname = 'checkpoints' AND NOT (
    has_schema_privilege(space.oid, 'USAGE') AND has_table_privilege(pg_class.oid, 'INSERT')
)"""


def roles(examination: Examination) -> Iterator[Finding]:
    """Compare what the login may do with what each role needs."""
    known = {
        name: role for name, role in all_roles(examination.settings).items() if name != REGISTRY
    }
    missing = {name: _missing(examination.settings, role) for name, role in known.items()}
    return role_findings(missing, examination.roles)


def role_findings(
    missing: Mapping[str, Collection[str]], wanted: Collection[str]
) -> Iterator[Finding]:
    """Yield what each role lacks; a problem if the role is `wanted`."""
    for name, lacking in missing.items():
        if lacking and name in wanted:
            yield problem(f"the login does not suffice for {name}: {'; '.join(lacking)}", _GRANT)
        elif lacking:
            yield ok(f"for {name}, the login would need: {'; '.join(lacking)}")
        else:
            yield ok(f"the login suffices for {name}")


def _missing(settings: Settings, role: Role) -> list[str]:
    asks: list[Callable[[], str]] = [partial(_missing_topics, settings, role)]
    groups = [need for need in role.kafka if need.resource == "group"]
    asks += [partial(_missing_on_group, settings, need) for need in groups]
    if role.postgres:
        asks.append(partial(_missing_in_postgres, settings, role))
    return [text for ask in asks if (text := ask())]


def _missing_topics(settings: Settings, role: Role) -> str:
    with kafka_available(settings):
        return denied_operations(admin(settings), needed_on_topics(settings, role.name))


def _missing_on_group(settings: Settings, need: KafkaNeed) -> str:
    """Return what is missing; of a group that does not exist yet, nothing is known."""
    name = settings.named(f"{need.name}1" if need.prefixed else need.name)
    client = admin(settings)
    with kafka_available(settings):
        [described] = client.describe_consumer_groups(
            [name], include_authorized_operations=True, request_timeout=REQUEST_TIMEOUT_SECONDS
        ).values()
    try:
        granted = described.result().authorized_operations
    except KafkaException as error:
        return f"Describe on group {name}" if "AUTHORIZATION" in error.args[0].name() else ""
    lacks = [
        one.name.title()
        for one in acl_operations(need.operations)
        if granted and one not in granted
    ]
    return f"{', '.join(lacks)} on group {name}" if lacks else ""


def _missing_in_postgres(settings: Settings, role: Role) -> str:
    with closing(Database(settings)) as database, database.session() as connection:
        if role.postgres == "migrate":
            [[granted]] = connection.execute(_CREATES).fetchall()
            return "" if granted else "CREATE on the database in PostgreSQL"
        if role.postgres == "project":
            pattern = f"^{database.home}_{re.escape(role.read_model)}_[0-9]+$"
            found = [name for (name,) in connection.execute(_NOT_WRITABLE, (pattern,))]
            return f"INSERT on the tables of {', '.join(found)} in PostgreSQL" if found else ""
        view = sql.Identifier(database.home, "user_views").as_string(connection)
        [[granted]] = connection.execute(_READS, (view,)).fetchall()
        return "" if granted else f"SELECT on {view} in PostgreSQL"
