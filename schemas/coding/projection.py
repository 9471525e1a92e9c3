"""Decodes the fields of a record that its reader keeps, and leaves texts as the bytes of the log.

A restore reads every user of a partition before it decides anything. It needs no event as a record
of Python objects, only the bytes of a user in another order (see `producers.domain.encoded_event`).
"""

import json
from collections.abc import Callable, Collection
from typing import Any

from schemas.coding.codec import HEADER_BYTES, RecordCodec
from schemas.coding.compiled import NOT_DECODED
from schemas.coding.compiled_decoder import decoder
from schemas.errors import Poisoned


class Projection:
    """Decodes only `fields` of the records of a codec."""

    def __init__(self, codec: RecordCodec[Any], fields: Collection[str]) -> None:
        self._codec = codec
        ours = _with_bytes(json.loads(codec.text))
        ours["fields"] = [field for field in ours["fields"] if field["name"] in fields]
        self._reader = json.dumps(ours)
        self._decoders: dict[bytes, Callable[[bytes], Any]] = {}

    def decode(self, value: bytes | None) -> Any:
        """Return the fields by name, texts as bytes that need not be UTF-8; None for most others.

        None if the record is not ordinary (see `schemas.coding.compiled`), broken, or has a field
        that our schema lacks: `RecordCodec.decode_whole` then reads it, or says what is wrong.
        Fields that are left out may be broken. Raises `Unavailable` if a schema cannot be looked
        up.
        """
        if value is None:
            return None
        decode = self._decoders.get(value[:HEADER_BYTES]) or self._compiled(value)
        try:
            return None if decode is None else decode(value)
        except NOT_DECODED:
            return None

    def _compiled(self, value: bytes) -> Callable[[bytes], Any] | None:
        try:
            writer = self._codec.schema_of(value)
        except Poisoned:
            return None
        if writer is None:
            return None
        # Texts and bytes are encoded alike.
        decode = decoder(json.dumps(_with_bytes(json.loads(writer))), self._reader, HEADER_BYTES)
        self._decoders[value[:HEADER_BYTES]] = decode
        return decode


def _with_bytes(schema: Any) -> Any:
    """Return a schema with `bytes` for each `string`."""
    if isinstance(schema, list):
        return [_with_bytes(branch) for branch in schema]
    if not isinstance(schema, dict):
        return "bytes" if schema == "string" else schema
    changed = {key: _with_bytes(schema[key]) for key in ("type", "items") if key in schema}
    if "fields" in schema:
        fields = schema["fields"]
        changed["fields"] = [field | {"type": _with_bytes(field["type"])} for field in fields]
    return schema | changed
