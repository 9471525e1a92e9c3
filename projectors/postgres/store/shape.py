"""What distinguishes the tables of one read model from another's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

from psycopg import sql

# The partition of a row, from its `user_id`: the shard is in the 12 bits after the version digit.
PARTITION: Final = (
    "((get_byte(uuid_send(user_id), 6) & 15) * 256 + get_byte(uuid_send(user_id), 7))"
    " * {partitions} >> 12"
)


@dataclass(frozen=True, slots=True)
class TableShape:
    """The statements that create one version, and the columns that its writer fills.

    In a statement, `{schema}` is the version's schema and `{partitions}` the number of partitions.
    `tables` creates the tables with their keys, and the views. `deferred` is what slows filling
    down, such as indexes and totals; a rebuild runs it last. `table` contains the rows, of which
    the writer fills `columns`. `published` names the tables and views that clients query;
    they have the same names in the home schema. `gone` is the condition of the rows that are left
    of users who were deleted or erased: see `leftovers`.
    `counted` are the columns of `table` that counters depend on: see `unmaintained`.
    """

    table: str
    columns: Sequence[str]
    tables: Sequence[LiteralString]
    deferred: Sequence[LiteralString]
    published: Sequence[str]
    gone: LiteralString | None = None
    counted: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version as it exists in PostgreSQL: its number and the columns that a writer fills.

    While `unfinished`, the deferred statements have not run, and writers do not use what they
    create.
    """

    number: int
    columns: Sequence[str]
    unfinished: bool


def upsert_parts(
    columns: Sequence[str],
    values: Mapping[str, LiteralString],
    updated: Mapping[str, LiteralString],
) -> dict[str, sql.Composable]:
    """Return the parts `{columns}`, `{values}` and `{changes}` of an upsert into `columns`.

    `values` has the expression that fills each column; `updated` the expression that updates a
    column, if that is not simply its new value. A version created by an older rollbook may have
    fewer columns than `values`.
    """
    present = [name for name in values if name in set(columns)]
    comma = sql.SQL(", ")
    return {
        "columns": comma.join(map(sql.Identifier, present)),
        "values": comma.join(sql.SQL(values[name]) for name in present),
        "changes": comma.join(
            sql.SQL("{} = {}").format(
                sql.Identifier(name),
                sql.SQL(updated[name]) if name in updated else sql.Identifier("excluded", name),
            )
            for name in present
        ),
    }
