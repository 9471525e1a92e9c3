"""Pauses the writes to an index while a swap moves the alias that clients query.

Writers write through an alias. Taking the lock replaces that alias by one that names the holder,
in one request. Elasticsearch applies such a request completely or not at all, and refuses it if an
alias to be removed is missing. So there is at most one holder, and a holder that lost its lock
finds out before it changes anything.
"""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import uuid4

from elasticsearch import Elasticsearch, NotFoundError

from projectors.contract.read_model import Dropped
from projectors.elasticsearch.index.indexes import write_alias
from schemas.errors import Unavailable

# No swap takes this long: a lock held for longer belongs to a process that died, and any process
# that waits for it may take it over. The waiting process measures the time, so no two clocks are
# compared. A swap that takes longer than that fails and can be repeated.
EXPIRES_AFTER_SECONDS: Final = 40.0
_PAUSE_SECONDS: Final = 0.2


class WritesPaused(Unavailable):
    """Writes to the index are refused: during a swap, or because the index was dropped."""

    default_code = "writes_held"

    def __init__(self, index: str) -> None:
        super().__init__(
            f"writes to index {index} are paused, as during a swap",
            next_step="if this lasts for more than two minutes, find out who set its "
            "index.blocks.write",
        )


class WriteLock:
    """One process's lock on the writes to `index`. The client's errors are raised as they are."""

    def __init__(
        self, client: Elasticsearch, index: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._index = index
        self._write_alias = write_alias(index)
        self._alias = f"{index}-held-{uuid4().hex}"
        self._clock = clock
        self._first_seen: dict[str, float] = {}  # locks of other processes

    def acquire(self) -> None:
        """Return once this process has the lock, no write is running and none can start.

        1. The alias of the writers is replaced, after waiting for any other holder. 2. A write
        block is added: that request returns when running writes have ended, and refuses those that
        have passed the alias but not started. Raises `Dropped` if the index does not exist.
        """
        while not self._replace([self._write_alias], self._alias) and not self._take_over():
            _pause()
        self._client.indices.add_block(index=self._index, block="write")

    def still_held(self) -> list[dict[str, Any]]:
        """Return actions that make a change of aliases fail unless this process has the lock."""
        return replace_aliases(self._index, [self._alias], self._alias)

    def release(self) -> None:
        """Let writes continue, unless another process has the lock."""
        holders = self._holders()
        if holders and self._alias not in holders:
            return
        # Remove the block before restoring the writers' alias: a writer that has its alias back
        # would report the block as foreign. Remove it also if another process has released this
        # lock, because that may have happened before the block was added.
        self._client.indices.put_settings(index=self._index, settings={"blocks.write": None})
        self._replace([self._alias], self._write_alias)

    def release_expired(self) -> bool:
        """Release a lock held for `EXPIRES_AFTER_SECONDS`; return whether one was released.

        A blocked writer calls this repeatedly; the first call only notes the holder. Raises
        `Dropped` if the index does not exist.
        """
        if not self._take_over():
            return False
        self.release()
        return True

    def wait_until_free(self) -> None:
        """Return once the lock is free; releases an expired one. Raises `Dropped`.

        Needed where no writer would release an expired lock, because there is nothing to write.
        """
        while self._holders() and not self.release_expired():
            _pause()

    def _take_over(self) -> bool:
        now = self._clock()
        self._first_seen = {each: self._first_seen.get(each, now) for each in self._holders()}
        expired = [
            each for each, seen in self._first_seen.items() if now - seen > EXPIRES_AFTER_SECONDS
        ]
        return bool(expired) and self._replace(expired, self._alias)

    def _holders(self) -> list[str]:
        try:
            answer = self._client.indices.get(index=self._index, features="aliases")
        except NotFoundError:
            raise index_dropped(self._index) from None
        aliases: dict[str, Any] = answer[self._index]["aliases"]
        holders = [each for each in aliases if each.startswith(f"{self._index}-held-")]
        if not holders and self._write_alias not in aliases:
            raise index_dropped(self._index)
        return holders

    def _replace(self, before: Sequence[str], after: str) -> bool:
        """Replace aliases, all of which must exist, by another; return whether they existed."""
        actions = replace_aliases(self._index, before, after)
        try:
            self._client.indices.update_aliases(actions=actions)
        except NotFoundError:
            return False
        return True


def _pause() -> None:
    time.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - avoids lockstep


def replace_aliases(index: str, before: Sequence[str], after: str) -> list[dict[str, Any]]:
    """Return actions that replace aliases by another, and fail if one of them is missing."""
    removed = [{"remove": {"index": index, "alias": alias, "must_exist": True}} for alias in before]
    return [*removed, {"add": {"index": index, "alias": after, "is_hidden": True}}]


def index_dropped(index: str) -> Dropped:
    """Return the error for an index that does not exist any more, or is being removed."""
    return Dropped(f"index {index} was removed")
