"""Checks of PostgreSQL: its release and clock, our tables and indexes, what holds vacuum back."""

import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, LiteralString

from projectors.catalog import read_models
from projectors.contract.read_model import READY
from projectors.history.schema import SHAPE as HISTORY_SHAPE
from projectors.postgres.store.bookkeeping import FORMAT, Bookkeeping
from projectors.postgres.store.database import Database
from projectors.postgres.store.shape import TableShape
from projectors.postgres.users.schema import SHAPE as USERS_SHAPE
from runtime.roles.postgres import version_schema
from scripts.doctor.clocks import clock_finding
from scripts.doctor.finding import Examination, Finding, ok, problem, warning

SHAPES: Final[Mapping[str, TableShape]] = {"postgres": USERS_SHAPE, "history": HISTORY_SHAPE}
# `transaction_timeout`, which ends the transaction of a writer that froze, exists since 17.
_OLDEST: Final = 17
_LONG_SECONDS: Final = 3600.0
_LISTED: Final = """
SELECT model, number, state FROM {home}.model_versions WHERE state <> 'dropped'"""
_SCHEMAS: Final = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)"
_INDEXES: Final = """
SELECT space.nspname, index.relname, indisvalid FROM pg_index
JOIN pg_class AS index ON index.oid = indexrelid
JOIN pg_namespace AS space ON space.oid = index.relnamespace
WHERE starts_with(space.nspname, %s)"""
_OLDEST_SNAPSHOT: Final = """
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float
FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()"""
_SLOTS: Final = "SELECT slot_name FROM pg_replication_slots WHERE NOT active"
_HAS_VERSIONS: Final = "SELECT to_regclass(%s) IS NOT NULL"


class TableFacts:
    """What PostgreSQL says, over one connection."""

    def __init__(self, examination: Examination) -> None:
        self.settings = examination.settings
        self.database = Database(examination.settings)

    def rows(self, text: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.database.session() as connection:
            return connection.execute(self.database.statement(text), values).fetchall()

    @cached_property
    def listed(self) -> list[tuple[str, int, str]]:
        """Read model, number and state of every version; none before a projector has run."""
        home = self.database.home
        if self.rows(_HAS_VERSIONS, f'"{home}".model_versions') == [(False,)]:
            return []
        return [(model, number, state) for model, number, state in self.rows(_LISTED)]

    @cached_property
    def schemas(self) -> set[str]:
        """The schemas whose names begin like those of our versions."""
        return {name for (name,) in self.rows(_SCHEMAS, f"{self.database.home}_")}

    def close(self) -> None:
        """Close the connection."""
        self.database.close()


def release(facts: TableFacts) -> list[Finding]:
    """Look which release of PostgreSQL runs, and which format our tables have."""
    [[number]] = facts.rows("SELECT current_setting('server_version_num')::integer")
    with facts.database.session() as connection:
        stored = Bookkeeping(facts.database).check(connection)
    return list(release_findings(number // 10_000, stored if facts.listed else FORMAT))


def release_findings(major: int, stored: int) -> Iterator[Finding]:
    """Yield what to think of a release, and of tables with the format `stored`."""
    if major < _OLDEST:
        yield problem(
            f"PostgreSQL {major} cannot end the transactions of writers that froze",
            f"upgrade to PostgreSQL {_OLDEST} or later",
        )
    else:
        yield ok(f"PostgreSQL {major} runs")
    if stored < FORMAT:
        yield warning(
            f"our tables have format {stored}, this release knows {FORMAT}",
            "a projector of this release brings them up to date when it starts",
        )


def clock(facts: TableFacts) -> list[Finding]:
    """Compare our clock with the server's."""
    before = time.time()
    [[theirs]] = facts.rows("SELECT extract(epoch FROM clock_timestamp())::float")
    return [clock_finding("PostgreSQL", theirs, before, time.time())]


def indexes(facts: TableFacts) -> Iterator[Finding]:
    """Look for indexes that are invalid or missing."""
    of_schemas: dict[str, dict[str, bool]] = {}
    for schema, name, is_valid in facts.rows(_INDEXES, f"{facts.database.home}_"):
        of_schemas.setdefault(schema, {})[name] = is_valid
    for model, number, state in facts.listed:
        schema = version_schema(facts.settings, model, number)
        if state == READY and model in SHAPES and schema in facts.schemas:
            wanted = index_names(SHAPES[model])
            yield from index_findings(schema, model, wanted, of_schemas.get(schema, {}))


def index_names(shape: TableShape) -> list[str]:
    """Return the names of the indexes that the statements of a shape create."""
    text = "\n".join((*shape.tables, *shape.deferred))
    return re.findall(r"CREATE (?:UNIQUE )?INDEX (\w+)", text)


def index_findings(
    schema: str, model: str, wanted: Collection[str], found: Mapping[str, bool]
) -> Iterator[Finding]:
    """Yield what is wrong with the indexes of a version; `found` says which are valid."""
    for name, is_valid in sorted(found.items()):
        if not is_valid and name.endswith(("_ccnew", "_ccold")):
            yield warning(
                f"index {schema}.{name} was left by an interrupted REINDEX",
                f'`DROP INDEX "{schema}"."{name}"`',
            )
        elif not is_valid:
            yield problem(
                f"index {schema}.{name} is invalid: queries do not use it",
                f'`REINDEX INDEX CONCURRENTLY "{schema}"."{name}"`',
            )
    for name in wanted:
        if name not in found:
            yield problem(
                f"index {schema}.{name} is missing: queries are slow",
                f"`rollbook projector rebuild {model}`, then swap to the new version",
            )


def leftovers(facts: TableFacts) -> Iterator[Finding]:
    """Look for tables of versions that do not exist, and for versions without tables."""
    listed = {version_schema(facts.settings, model, n): model for model, n, _ in facts.listed}
    known = "|".join(map(re.escape, read_models(facts.settings)))
    pattern = re.compile(rf"{re.escape(facts.database.home)}_({known})_\d+")
    ours = {name for name in facts.schemas if pattern.fullmatch(name)}
    return leftover_findings(listed, ours)


def leftover_findings(listed: Mapping[str, str], found: Collection[str]) -> Iterator[Finding]:
    """Yield the differences between the versions that are `listed` and the schemas `found`."""
    for schema in sorted(set(found) - set(listed)):
        yield warning(
            f"schema {schema} belongs to no version: it may contain users who were erased since",
            f'`DROP SCHEMA "{schema}" CASCADE`',
        )
    for schema in sorted(set(listed) - set(found)):
        model = listed[schema]
        yield problem(
            f"the tables of schema {schema} are missing",
            f"`rollbook projector rebuild {model}`, then swap to the new version",
        )


def held_back(facts: TableFacts) -> Iterator[Finding]:
    """Look for what keeps PostgreSQL from removing erased rows from its files."""
    [[seconds]] = facts.rows(_OLDEST_SNAPSHOT)
    return held_back_findings(seconds, [name for (name,) in facts.rows(_SLOTS)])


def held_back_findings(seconds: float, slots: Sequence[str]) -> Iterator[Finding]:
    """Yield what holds vacuum back: a transaction of this age, slots that nobody reads."""
    if seconds > _LONG_SECONDS:
        yield warning(
            f"a transaction is open for {seconds / 3600:.1f} hours: erased rows stay in the files",
            "end it: pg_stat_activity shows it",
        )
    for slot in slots:
        yield warning(
            f"nobody reads the replication slot {slot}: WAL and erased rows pile up",
            "connect its replica, or pg_drop_replication_slot",
        )
