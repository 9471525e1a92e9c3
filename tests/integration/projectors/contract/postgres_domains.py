"""The read model of docs/your-own-read-model.md in PostgreSQL: only its table and its upsert.

`rollbook` finds it by the setting `read_models`, as
`domain_table=tests.integration.projectors.contract.postgres_domains:domain_table_versions`.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from projectors.contract import (
    LATEST_STATE,
    Batch,
    Poisoned,
    Row,
    Settings,
    UserEvent,
)
from projectors.postgres.store.shape import StoredVersion, TableShape
from projectors.postgres.store.tables import VersionTables
from projectors.postgres.store.versions import PostgresVersions
from tests.examples.domains import domain_of

NAME: Final = "domain_table"
SHAPE: Final = TableShape(
    "user_domains",
    ("user_id", "version", "domain"),
    ("CREATE TABLE {schema}.user_domains (user_id uuid PRIMARY KEY, version bigint, domain text)",),
    ("CREATE INDEX ON {schema}.user_domains (domain)",),
    ("user_domains",),
)
_UPSERT: Final = """
INSERT INTO {schema}.user_domains AS stored (user_id, version, domain) VALUES (%s, %s, %s)
ON CONFLICT (user_id) DO UPDATE SET version = excluded.version, domain = excluded.domain
WHERE stored.version < excluded.version"""


class DomainTable(VersionTables):
    """One version: a `ReadModel`."""

    name: Final = NAME
    source: Final = LATEST_STATE

    def __init__(self, settings: Settings, stored: StoredVersion) -> None:
        super().__init__(settings, NAME, stored)

    def write(self, batch: Batch) -> None:
        """Apply the events and advance the checkpoint in one transaction."""
        rows = sorted(map(self.row_of, batch.events))  # one order for all writers: no deadlock
        with self.step(batch.advances) as cursor:
            try:
                cursor.executemany(self.database.statement(_UPSERT), rows)
            except UnicodeError:
                raise Poisoned("a domain is not Unicode", code="no_domain") from None

    def row_of(self, event: UserEvent) -> Row:
        """Return the row of the user after `event`."""
        return event["user_id"], event["version"], domain_of(event)

    def rows(self) -> Iterator[Sequence[Row]]:
        """Yield every row, all from one snapshot."""
        select = "SELECT user_id::text, version, domain FROM {schema}.user_domains"
        for rows in self.fetch(select):
            yield [(row[0], *row[1:]) for row in rows]


def domain_table_versions(settings: Settings) -> PostgresVersions:
    """Return the versions of this read model."""
    return PostgresVersions(settings, NAME, LATEST_STATE, SHAPE, DomainTable)
