"""Codecs without a registry: every schema has a separate id, and no other id is known."""

from functools import cache
from typing import Any

from schemas.coding.codec import RecordCodec, schema_text
from schemas.errors import Poisoned
from schemas.topics import SCHEMAS


@cache
def codec(schema: str) -> RecordCodec[Any]:
    """Return the codec of a schema; its id is its place among all schemas."""
    return RecordCodec(schema, SCHEMAS.index(schema), schema_by_id)


def schema_by_id(schema_id: int) -> str:
    """Return the text of a schema, as a registry does; raises `Poisoned` (`unknown_schema`)."""
    if schema_id < len(SCHEMAS):
        return schema_text(SCHEMAS[schema_id])
    raise Poisoned(f"no schema has id {schema_id}", code="unknown_schema")
