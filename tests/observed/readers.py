"""Readers that query continuously while a test changes what they read."""

import threading
from collections.abc import Callable, Mapping
from typing import Final, Self

from tests.depth import depth

# A value per key; it must never decrease.
Seen = Mapping[str, int]
# A query, and a function that closes its connection.
Query = tuple[Callable[[], Seen], Callable[[], None]]

# Between two queries of a reader: without it, readers take the processors from all other tests.
_PAUSE_SECONDS: Final = depth(0.01, 0.0)


class Readers:
    """Concurrent readers; each repeats its own query until the `with` block ends.

    Each `open_query` is called in the thread of its reader and returns the query and the function
    that closes it. The test fails if a query fails, or returns a value below one that *any* reader
    had seen before the query started.
    """

    def __init__(self, *open_queries: Callable[[], Query]) -> None:
        self.answers = 0
        self.wrong: list[str] = []
        self._greatest: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._read, args=(open_query,)) for open_query in open_queries
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        if kind is None:
            assert not self.wrong, self.wrong[:3]

    def have_asked(self, more: int) -> Callable[[], bool]:
        """Return a condition: this many more queries were answered, or one was wrong."""
        wanted = self.answers + more
        return lambda: self.answers >= wanted or bool(self.wrong)

    def _read(self, open_query: Callable[[], Query]) -> None:
        ask, close = open_query()
        try:
            while not self._stopping.wait(_PAUSE_SECONDS) and not self.wrong:
                with self._lock:
                    before = dict(self._greatest)
                self._compare(before, ask())
        except Exception as error:  # noqa: BLE001 - any error is a finding
            self.wrong.append(f"{type(error).__name__}: {error}")
        finally:
            close()

    def _compare(self, before: Seen, seen: Seen) -> None:
        with self._lock:
            self.answers += 1
            for key, value in seen.items():
                if value < before.get(key, value):
                    self.wrong.append(f"{key} went back from {before[key]} to {value}")
                self._greatest[key] = max(value, self._greatest.get(key, value))
