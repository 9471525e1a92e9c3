"""Looks up foreign schema ids without stopping the loop that decides all partitions.

Anyone who may send commands can write a record with any schema id. If the registry is slow or
unavailable, only the partition with such a record waits.
"""

import logging
import threading
import time
from collections.abc import Callable

from runtime.kafka.unknown_schemas import UnknownSchemas
from runtime.process import FORBIDDEN_RETRY_SECONDS
from schemas.errors import Forbidden, Poisoned, RollbookError, Unavailable

log = logging.getLogger(__name__)

_WAIT_SECONDS = 0.2
_REST_SECONDS = 1.0


class SchemaLookup:
    """The texts of schemas by id, fetched by `find` in a background thread, one at a time.

    The calls of one second wait for at most 0.2 s together. Raises `Poisoned` (`unknown_schema`)
    if there is no such schema, also from memory (see `UnknownSchemas`), and `Unavailable` if that
    is not known yet: call again later. A registry that denies access is asked again after 30 s.
    """

    def __init__(self, find: Callable[[int], str]) -> None:
        self._find = find
        self._running: _Lookup | None = None
        self._texts: dict[int, str] = {}
        self._unknown = UnknownSchemas()
        self._denied: Forbidden | None = None
        self._ask_again_at = 0.0
        self._patience_seconds = _WAIT_SECONDS
        self._waited_at = time.monotonic()

    def __call__(self, schema_id: int) -> str:
        """Return the text of a schema."""
        text = self._texts.get(schema_id)
        if text is not None:
            return text
        self._unknown.check(schema_id)
        if self._denied is not None and time.monotonic() < self._ask_again_at:
            raise Unavailable(str(self._denied), code=self._denied.code)
        if self._running is None:
            self._running = _Lookup(self._find, schema_id)
        lookup = self._running
        if self._await(lookup):
            self._running = None
            self._note(lookup)
            if lookup.schema_id == schema_id:
                return self._result(lookup)
        raise Unavailable(f"schema {schema_id} is not fetched yet", code="registry_unavailable")

    def _note(self, lookup: "_Lookup") -> None:
        self._denied = lookup.result if isinstance(lookup.result, Forbidden) else None
        self._ask_again_at = time.monotonic() + FORBIDDEN_RETRY_SECONDS
        if isinstance(lookup.result, str):
            self._texts[lookup.schema_id] = lookup.result
        elif isinstance(lookup.result, Poisoned):
            self._unknown.added(lookup.schema_id)
        else:
            log.warning(
                "partitions with records of schema %d wait: %s", lookup.schema_id, lookup.result
            )

    def _await(self, lookup: "_Lookup") -> bool:
        """Return whether it is done, after waiting for it as long as is permitted."""
        began = time.monotonic()
        earned = (began - self._waited_at) * _WAIT_SECONDS / _REST_SECONDS
        patience = min(self._patience_seconds + earned, _WAIT_SECONDS)
        is_done = lookup.done.wait(patience)
        self._waited_at = time.monotonic()
        self._patience_seconds = max(0.0, patience - (self._waited_at - began))
        return is_done

    @staticmethod
    def _result(lookup: "_Lookup") -> str:
        if isinstance(lookup.result, str):
            return lookup.result
        if isinstance(lookup.result, Poisoned):
            raise lookup.result
        raise Unavailable(str(lookup.result), code="registry_unavailable") from lookup.result


class _Lookup:
    """One request in a thread, which ends with the process if it hangs."""

    def __init__(self, find: Callable[[int], str], schema_id: int) -> None:
        self.schema_id = schema_id
        self.done = threading.Event()
        self.result: str | Exception = ""
        self._find = find
        threading.Thread(target=self._run, name="schema lookup", daemon=True).start()

    def _run(self) -> None:
        try:
            self.result = self._find(self.schema_id)
        except RollbookError as error:
            self.result = error
        finally:
            self.done.set()
