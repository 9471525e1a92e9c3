"""The versions that are not compared with the log: no erased user may be left in them either.

They are being built, were left by a rebuild that died, or have fields that this release does not
know.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from projectors.catalog import open_versions
from projectors.contract.read_model import BUILDING, ReadModelVersions, Version
from projectors.contract.refusals import OTHER_SHAPE
from projectors.elasticsearch.client import connect, elasticsearch_available
from projectors.elasticsearch.index.indexes import users_index
from projectors.postgres.store.database import Database
from projectors.versions.rebuild_lock import is_rebuilding
from runtime.settings import Settings
from schemas.errors import Misconfigured
from scripts.verify.checks.stores import check_leftovers
from scripts.verify.documents import MARKER_FIELDS, documents_of
from scripts.verify.facts import Check, Last

# The table of each read model in PostgreSQL, and the columns that are not personal.
_TABLES: dict[str, tuple[str, list[str]]] = {
    "postgres": ("users", ["user_id", "version", "updated_at"]),
    "history": (
        "user_history",
        ["user_id", "version", "seq", "occurred_at", "type", "command_id", "issued_by"],
    ),
}
_PERSONAL = """
SELECT user_id::text, version FROM {schema}.{table} AS stored
WHERE jsonb_strip_nulls(to_jsonb(stored) - {impersonal}::text[]) <> '{{}}'"""
_ROWS_PER_FETCH = 5_000


@dataclass(frozen=True, slots=True)
class OtherVersion:
    """A version that is not compared, and why."""

    name: str
    number: int
    why: str

    @property
    def label(self) -> str:
        """The name of the read model, the number and the reason."""
        return f"{self.name} {self.number} ({self.why})"


def is_known(versions: ReadModelVersions, version: Version) -> bool:
    """Return whether this release knows all fields of a version; it must if that is live."""
    try:
        versions.open(version.number).close()
    except Misconfigured as error:
        if version.live or error.code != OTHER_SHAPE:
            raise
        return False
    return True


def other_versions(settings: Settings, names: Collection[str]) -> list[OtherVersion]:
    """Return the versions of these read models that are building or have unknown fields."""
    found = []
    for name in names:
        with closing(open_versions(settings, name)) as versions:
            for version in versions.versions():
                if version.state == BUILDING:
                    found.append(OtherVersion(name, version.number, BUILDING))
                elif not is_known(versions, version):
                    found.append(OtherVersion(name, version.number, "unknown fields"))
    return found


def check_others(
    settings: Settings, names: Collection[str], users: Mapping[str, Last]
) -> list[Check]:
    """Check that none of these versions holds an erased user.

    A version that a running rebuild is filling may: it will read the erasure before it is ready.
    """
    checks = []
    for other in other_versions(settings, names):
        check = check_leftovers(other.label, _personal_rows(settings, other), users)
        check.listing = other.why == BUILDING and is_rebuilding(settings, other.name)
        checks.append(check)
    return checks


def _personal_rows(settings: Settings, other: OtherVersion) -> Iterator[tuple[str, int]]:
    """Yield user id and version of everything with personal data."""
    if other.name in _TABLES:
        yield from _personal_in_postgres(settings, other)
        return
    with closing(connect(settings)) as client, elasticsearch_available(settings):
        for user_id, document in documents_of(client, users_index(settings, other.number)):
            if not set(document) <= MARKER_FIELDS:
                yield user_id, document["version"]


def _personal_in_postgres(settings: Settings, other: OtherVersion) -> Iterator[tuple[str, int]]:
    table, impersonal = _TABLES[other.name]
    database = Database(settings, read_model=other.name, version=other.number)
    statement: Any = database.statement(
        _PERSONAL, table=sql.Identifier(table), impersonal=sql.Literal(impersonal)
    )
    with (
        closing(database),
        database.session() as connection,
        connection.transaction(),
        connection.cursor("verify_others") as cursor,
    ):
        cursor.execute(statement)
        while rows := cursor.fetchmany(_ROWS_PER_FETCH):
            yield from rows
