"""What the topics of an unfinished restore hold, compared with what it writes. Pure.

A restore writes each partition of each topic in one order, so what an earlier run wrote is counted,
not read. A record that somebody else wrote in between would pass for one of ours, and displace it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from runtime.topics.log_ranges import Place
from schemas.errors import Misconfigured

_NOTHING: Final = object()


@dataclass(slots=True)
class Written:
    """What earlier runs of a restore wrote; `passes` goes through it in the order of writing.

    `ends` are those of every partition. `keys` has the keys in some of them by offset, from `lows`
    on: those before are deleted. `counts` is how many records of each were passed or are new.
    """

    ends: Mapping[Place, int]
    lows: Mapping[Place, int] = field(default_factory=dict)
    keys: Mapping[Place, Mapping[int, object]] = field(default_factory=dict)
    counts: Counter[Place] = field(default_factory=Counter)

    def passes(self, place: Place, key: str | None) -> bool:
        """Return whether the next record of a partition, with this key, is written already.

        Raises `Misconfigured` (`not_empty`) if there is another record at its offset.
        """
        offset = self.counts[place]
        self.counts[place] += 1
        if offset >= self.ends[place]:
            return False
        if place in self.keys and offset >= self.lows[place]:
            found = self.keys[place].get(offset, _NOTHING)
            if found != (None if key is None else key.encode()):
                raise foreign(place)
        return True

    def require_empty(self, name: str) -> None:
        """Raise `Misconfigured` (`not_empty`) if earlier runs found or wrote records of a topic."""
        for place, end in self.ends.items():
            if place[0] == name and end:
                raise foreign(place)

    def is_continued(self) -> bool:
        """Return whether all records up to now were written by earlier runs."""
        return all(count <= self.ends[place] for place, count in self.counts.items())

    def require_complete(self, ends: Mapping[Place, int], *, longer: frozenset[str]) -> None:
        """Raise `Misconfigured` (`not_empty`) unless each partition ends after what was written.

        The topics in `longer` may have more.
        """
        for place, end in ends.items():
            if end < self.counts[place] or (end > self.counts[place] and place[0] not in longer):
                raise foreign(place)


def not_empty(reason: str) -> Misconfigured:
    """Return the error for a registry that a restore must not touch."""
    return Misconfigured(
        f"the registry is not empty: {reason}",
        code="not_empty",
        next_step="restore under another `prefix`, or delete the topics and the handlers' group",
    )


def foreign(place: Place) -> Misconfigured:
    """Return the error for a partition in which somebody else wrote during the restore."""
    return not_empty(
        f"a client or a handler has written to {place[0]} partition {place[1]} during the restore"
    )
