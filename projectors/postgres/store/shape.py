"""What the tables of a read model look like: all that tells one read model from another there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

from psycopg import sql

# The partition of a row by its `user_id`: the shard is in the 12 bits after the version digit.
PARTITION: Final = (
    "((get_byte(uuid_send(user_id), 6) & 15) * 256 + get_byte(uuid_send(user_id), 7))"
    " * {partitions} >> 12"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """The statements that make one version, and what its writer fills.

    In a statement `{schema}` is the version's own, `{partitions}` how many partitions there are.
    `tables` makes the tables with their keys, and the views; `put_off` what slows filling them,
    such as indexes and totals: a rebuild runs it last. `table` holds the rows, of which the writer
    fills `columns`. `published` are the tables and views that people query, by the same names in
    the home schema.
    """

    table: str
    columns: Sequence[str]
    tables: Sequence[LiteralString]
    put_off: Sequence[LiteralString]
    published: Sequence[str]


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version as it stands in the store: its number, the columns of its rows that a writer fills.

    `unfinished`: what its shape puts off is not done yet, and who writes does without it.
    """

    number: int
    columns: Sequence[str]
    unfinished: bool


def filled(
    columns: Sequence[str],
    values: Mapping[str, LiteralString],
    updated: Mapping[str, LiteralString],
) -> dict[str, sql.Composable]:
    """Return the parts `{columns}`, `{values}` and `{changes}` of an upsert into `columns`.

    `values` tells what fills each column, `updated` what updates those of which it is not simply
    the value that comes. A version that an older rollbook made may have fewer columns than these.
    """
    there = [name for name in values if name in set(columns)]
    comma = sql.SQL(", ")
    return {
        "columns": comma.join(map(sql.Identifier, there)),
        "values": comma.join(sql.SQL(values[name]) for name in there),
        "changes": comma.join(
            sql.SQL("{} = {}").format(
                sql.Identifier(name),
                sql.SQL(updated[name]) if name in updated else sql.Identifier("excluded", name),
            )
            for name in there
        ),
    }
