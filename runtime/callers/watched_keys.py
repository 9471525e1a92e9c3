"""The keys of a running service: read from their file again when it changes."""

import logging
import os
import time
from pathlib import Path
from typing import Final

from runtime.callers.key_file import Key, matching, read_keys
from schemas.errors import Misconfigured

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 1.0


class WatchedKeys:
    """Finds keys in the file `path`, at which it looks at most once a second.

    A file that becomes unreadable changes nothing: a write that was cut short, or a mount that
    moved, must not lock everybody out. Raises `Misconfigured` if it is unreadable at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys = read_keys(path)
        self._seen = self._look()
        self._look_at = time.monotonic() + _LOOK_SECONDS

    def find(self, text: str) -> Key | None:
        """Return the key that `text` is, also one that is revoked or expired; None for others."""
        if time.monotonic() >= self._look_at:
            self._refresh()
        return matching(self._keys, text)

    def _refresh(self) -> None:
        self._look_at = time.monotonic() + _LOOK_SECONDS
        found = self._look()
        if found == self._seen:
            return
        self._seen = found
        try:
            self._keys = read_keys(self._path)
        except Misconfigured as error:
            log.error("%s; the keys that were read before stay in force", error)  # noqa: TRY400
        else:
            log.info("read %d keys from %s", len(self._keys), self._path)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - one call less per look
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
