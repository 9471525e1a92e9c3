"""Remembers which ids of schemas the registry does not know, so that it is not asked for each."""

import time
from typing import Final

from schemas.errors import Poisoned

_FIRST_UNKNOWN_SECONDS: Final = 0.2
_MOST_UNKNOWN_SECONDS: Final = 60.0
_MOST_UNKNOWN: Final = 10_000


class UnknownSchemas:
    """Ids that the registry did not know: each for 0.2 s, then for twice as long, up to 60 s.

    Anyone who may send commands can write records with any schema id, so an unknown one is not
    looked up for each of them. At first it is looked up again soon: its schema may arrive late.
    """

    def __init__(self) -> None:
        # Schema id → until when it counts as unknown, and for how long in all.
        self._until: dict[int, tuple[float, float]] = {}

    def check(self, schema_id: int) -> None:
        """Raise `Poisoned` (`unknown_schema`) if the id still counts as unknown."""
        if time.monotonic() < self._until.get(schema_id, (0.0, 0.0))[0]:
            raise _unknown_schema(schema_id)

    def added(self, schema_id: int) -> Poisoned:
        """Remember that the registry does not know an id; return the error that says so."""
        _, before = self._until.get(schema_id, (0.0, _FIRST_UNKNOWN_SECONDS / 2))
        if len(self._until) >= _MOST_UNKNOWN:
            self._until.clear()
        seconds = min(2 * before, _MOST_UNKNOWN_SECONDS)
        self._until[schema_id] = (time.monotonic() + seconds, seconds)
        return _unknown_schema(schema_id)


def _unknown_schema(schema_id: int) -> Poisoned:
    return Poisoned(f"the registry has no Avro schema with id {schema_id}", code="unknown_schema")
