"""Checks what the login of the settings may do in Kafka and PostgreSQL, without trying it out.

Which process the login belongs to is not known, so a missing permission is a problem only for the
roles that `--role` names. The table is that of docs/production.md.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin._acl import AclOperation
from psycopg import sql

from producers.handler.members import GROUP
from projectors.engine.start import group_of
from projectors.postgres.store.database import Database
from runtime.kafka import REQUEST_TIMEOUT_SECONDS, admin, kafka_available
from runtime.settings import Settings
from runtime.topics.access import denied_operations
from schemas.topics import COMMANDS, DEAD_LETTERS, EVENTS, HISTORY, OUTCOMES, TOPICS
from scripts.doctor.finding import Asked, Finding, ok, problem

_DESCRIBE, _READ, _WRITE = AclOperation.DESCRIBE, AclOperation.READ, AclOperation.WRITE
_CONFIGS, _DELETE = AclOperation.DESCRIBE_CONFIGS, AclOperation.DELETE
_NAMES: Final = [topic.name for topic in TOPICS]
_ALL: Final = dict.fromkeys(_NAMES, (_DESCRIBE,))
_GRANT: Final = "grant it (docs/production.md lists what each process needs)"
_CREATES: Final = "SELECT has_database_privilege(current_database(), 'CREATE')"
_READS: Final = "SELECT coalesce(has_table_privilege(to_regclass(%s), 'SELECT'), true)"


@dataclass(frozen=True, slots=True)
class Role:
    """What a kind of process needs: operations on topics and on a group, rights in PostgreSQL."""

    topics: Mapping[str, Collection[AclOperation]]
    group: str = ""
    on_group: Collection[AclOperation] = ()
    postgres: str = ""


_NEEDS: Final[Mapping[str, Role]] = {
    "client": Role({COMMANDS.name: (_DESCRIBE, _WRITE), OUTCOMES.name: (_DESCRIBE, _READ)}),
    "handler": Role(
        dict.fromkeys(_NAMES, (_DESCRIBE, _READ, _WRITE, _CONFIGS)), GROUP, (_READ, _DESCRIBE)
    ),
    "projector": Role(
        _ALL | {EVENTS.name: (_READ,), HISTORY.name: (_READ,), DEAD_LETTERS.name: (_WRITE,)},
        group_of("postgres", 1),
        (_READ, _DESCRIBE, _DELETE),
        "create",
    ),
    "queries": Role(
        _ALL | {EVENTS.name: (_READ,), HISTORY.name: (_READ,), DEAD_LETTERS.name: (_READ,)},
        postgres="select",
    ),
}


def roles(asked: Asked) -> Iterator[Finding]:
    """Compare what the login may do with what each role needs."""
    missing = {name: _missing(asked.settings, role) for name, role in _NEEDS.items()}
    return role_findings(missing, asked.roles)


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
    if role.group:
        asks.append(partial(_missing_on_group, settings, role))
    if role.postgres:
        asks.append(partial(_missing_in_postgres, settings, role.postgres))
    return [text for ask in asks if (text := ask())]


def _missing_topics(settings: Settings, role: Role) -> str:
    needed = {settings.named(topic): wanted for topic, wanted in role.topics.items()}
    with kafka_available(settings):
        return denied_operations(admin(settings), needed)


def _missing_on_group(settings: Settings, role: Role) -> str:
    """Return what is missing; of a group that does not exist yet, nothing is known."""
    name = settings.named(role.group)
    client = admin(settings)
    with kafka_available(settings):
        [described] = client.describe_consumer_groups(
            [name], include_authorized_operations=True, request_timeout=REQUEST_TIMEOUT_SECONDS
        ).values()
    try:
        granted = described.result().authorized_operations
    except KafkaException as error:
        return f"Describe on group {name}" if "AUTHORIZATION" in error.args[0].name() else ""
    lacks = [one.name.title() for one in role.on_group if granted and one not in granted]
    return f"{', '.join(lacks)} on group {name}" if lacks else ""


def _missing_in_postgres(settings: Settings, right: str) -> str:
    with closing(Database(settings)) as database, database.session() as connection:
        if right == "create":
            [[granted]] = connection.execute(_CREATES).fetchall()
            return "" if granted else "CREATE on the database in PostgreSQL"
        view = sql.Identifier(database.home, "user_views").as_string(connection)
        [[granted]] = connection.execute(_READS, (view,)).fetchall()
        return "" if granted else f"SELECT on {view} in PostgreSQL"
