"""Holds the writes to an index while the alias that people query moves away from it.

Writers write by an alias. A hold takes it away and puts up another that says whose hold it is, in
one request, which Elasticsearch applies wholly or not at all: not if an alias that it takes away is
not there. So there is one holder at most, and one whose hold was lifted learns of it before
anything has changed.
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

# No swap takes as long: a hold that stays for more is of a process that died, and anyone whom it
# hinders may take it over. Measured by who is hindered, so that no two clocks are compared. A swap
# that does take longer fails, and can be run again.
HOLD_MOST_SECONDS: Final = 40.0
_PAUSE_SECONDS: Final = 0.2


class Held(Unavailable):
    """Writers may not write to the index: for the moment of a swap, or because it is gone."""

    default_code = "writes_held"

    def __init__(self, index: str) -> None:
        super().__init__(
            f"writes to index {index} are held, as for the moment of a swap",
            next_step="if it lasts for more than two minutes, see who set its index.blocks.write",
        )


class Hold:
    """One process's hold on the writes to `index`; errors of the client are not explained."""

    def __init__(
        self, client: Elasticsearch, index: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._index = index
        self._write_alias = write_alias(index)
        self._alias = f"{index}-held-{uuid4().hex}"
        self._clock = clock
        self._since: dict[str, float] = {}  # others' holds, and when we saw each first

    def take(self) -> None:
        """Return once we hold, no write is under way, and none can begin.

        1. Writers lose their alias; if another process holds, it is waited for. 2. A write block
        goes up: that request returns when what was under way has ended, and what is on its way
        and has passed the alias comes to nothing. Raises `Dropped` if the index is gone.
        """
        while not self._move([self._write_alias], self._alias) and not self._take_over_dead():
            _pause()
        self._client.indices.add_block(index=self._index, block="write")

    def kept(self) -> list[dict[str, Any]]:
        """Return actions that make a change of aliases fail unless we hold still."""
        return moved(self._index, [self._alias], self._alias)

    def release(self) -> None:
        """Let writes go on, unless it is another who holds."""
        holds = self._holds()
        if holds and self._alias not in holds:
            return
        # First: with their alias writers would take a block for somebody else's. And also if our
        # hold was lifted: who lifted it may have done so before our block went up.
        self._client.indices.put_settings(index=self._index, settings={"blocks.write": None})
        self._move([self._alias], self._write_alias)

    def lift_if_dead(self) -> bool:
        """Let writes go on if one process has held them for `HOLD_MOST_SECONDS`; say whether so.

        For a writer that is hindered, to be called from time to time; the first call only notes who
        holds. Raises `Dropped` if the index is gone.
        """
        if not self._take_over_dead():
            return False
        self.release()
        return True

    def wait_until_free(self) -> None:
        """Return once nobody holds: who lives has ended, who is dead was lifted. Raises `Dropped`.

        For what writers do not lift, since there is nothing to write.
        """
        while self._holds() and not self.lift_if_dead():
            _pause()

    def _take_over_dead(self) -> bool:
        now = self._clock()
        self._since = {each: self._since.get(each, now) for each in self._holds()}
        dead = [each for each, since in self._since.items() if now - since > HOLD_MOST_SECONDS]
        return bool(dead) and self._move(dead, self._alias)

    def _holds(self) -> list[str]:
        try:
            answer = self._client.indices.get(index=self._index, features="aliases")
        except NotFoundError:
            raise gone(self._index) from None
        aliases: dict[str, Any] = answer[self._index]["aliases"]
        holds = [each for each in aliases if each.startswith(f"{self._index}-held-")]
        if not holds and self._write_alias not in aliases:
            raise gone(self._index)
        return holds

    def _move(self, before: Sequence[str], after: str) -> bool:
        """Put up one alias for others, all of which must be there; return whether they were."""
        try:
            self._client.indices.update_aliases(actions=moved(self._index, before, after))
        except NotFoundError:
            return False
        return True


def _pause() -> None:
    time.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 - not in step


def moved(index: str, before: Sequence[str], after: str) -> list[dict[str, Any]]:
    """Return actions that put up one alias for others, and fail if one of those is not there."""
    removed = [{"remove": {"index": index, "alias": alias, "must_exist": True}} for alias in before]
    return [*removed, {"add": {"index": index, "alias": after, "is_hidden": True}}]


def gone(index: str) -> Dropped:
    """Return the error of who uses an index that is no longer there, or is being removed."""
    return Dropped(f"index {index} was removed")
