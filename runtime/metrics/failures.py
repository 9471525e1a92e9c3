"""Counts the failures of servers, where somebody acts on them: waits, tries again, or answers."""

from runtime.metrics.recording import VALUES
from runtime.metrics.table import LABEL_VALUES
from schemas.errors import RollbookError, TlsFailed

_STORES = frozenset(LABEL_VALUES["store"])


def count_failure(error: RollbookError, *, is_retried: bool) -> None:
    """Count `error` if it is a failure of a server: its code begins with the server's name."""
    store, _, what = error.code.partition("_")
    if isinstance(error, TlsFailed):
        store, what = error.server, "forbidden"
    if store in _STORES and what in {"unavailable", "forbidden"}:
        VALUES.count("store_errors_total", store)
        if is_retried:
            VALUES.count("store_retries_total", store)
