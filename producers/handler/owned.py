"""One partition that a handler has, and from where it is decided."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from producers.domain.state import PartitionState
from producers.handler.restore import Restore
from schemas.errors import Misconfigured

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Owned:
    """One partition: restoring while `state` is None, then deciding from `next_offsets`.

    `next_offsets` is by topic: the commands and the hops of one partition are one input.
    `has_open_grants` until those that a predecessor left open have been sent again.
    """

    number: int
    next_offsets: dict[str, int] = field(default_factory=dict)
    restore: Restore | None = None
    state: PartitionState | None = None
    has_open_grants: bool = True
    # A gap seen once may be a stale message after a seek; seen again it is the log's own.
    gap: tuple[int, int] | None = None

    def forget(self) -> None:
        """Let go of what the restore holds."""
        if self.restore:
            self.restore.close()


def first_offsets(
    owned: Owned, state: PartitionState, lows: Mapping[str, int], commands: str, group: str
) -> dict[str, int]:
    """Return by topic where to begin: at the committed offsets, which must agree with the outcomes.

    `lows` are the first offsets that the broker still has, `commands` the topic of commands. Raises
    `Misconfigured` (`lost_offsets`) if a committed offset is missing or behind what is decided:
    beginning there would decide commands twice.
    """
    decided = state.window.last_offset
    is_new = decided < 0 and not state.users and not state.claims
    found = owned.next_offsets
    if is_new and max(found.values()) < 0:
        return dict(lows)
    if min(found.values()) < 0 or found[commands] <= decided:
        raise Misconfigured(
            f"group {group} has no right offset for partition {owned.number}: "
            f"commands up to {decided} are decided",
            code="lost_offsets",
            next_step="set those of commands and hops with Kafka's kafka-consumer-groups tool",
        )
    for topic, low in lows.items():
        if found[topic] < low:
            log.error(
                "%s partition %d: offsets %d to %d were deleted by retention, undecided",
                *(topic, owned.number, found[topic], low - 1),
            )
    return {topic: max(offset, lows[topic]) for topic, offset in found.items()}
