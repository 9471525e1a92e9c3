"""Decides which records of the log belong to one consistent state. Pure.

Partitions decide independently; only a change of address makes one depend on another. Their ends
are read one after the other, so an event may be before its partition's end although an event that
caused it is after the end of another. Either no address message was committed while the ends were
read; then nothing depends on anything later. Or everything stamped later than a limit is left out:
handlers never stamp an effect earlier than its cause.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from schemas.errors import Unavailable
from schemas.identity import partition_of, user_shard
from schemas.records import ACCEPTED, AddressMessage, CommandOutcome, UserCommand
from schemas.records import CHANGE_EMAIL as CHANGE
from scripts.backup.files import Copied

_CARRIES_COMMAND = frozenset({"reserve", "granted", "refused"})


@dataclass(frozen=True, slots=True)
class Ends:
    """The ends of `user-history` by partition, as they were read one after the other.

    `is_quiet` is whether no address message was committed meanwhile. `now_ms` is this machine's
    clock before the first was read.
    """

    history: Mapping[int, int]
    is_quiet: bool
    now_ms: int


def limit_ms(ends: Ends, tails: Mapping[int, Iterable[Copied]]) -> int | None:
    """Return the time after which no event belongs to the cut; None if the ends suffice.

    `tails` go beyond the ends, up to ends that were read after all of these: the cause of an event
    before an end is at the latest there.
    """
    if ends.is_quiet:
        return None
    later: list[int] = [
        one["record"]["occurred_at"] - 1
        for partition, tail in tails.items()
        for one in tail
        if one["offset"] >= ends.history[partition]
    ]
    # A handler follows the clock of another for at most a minute (`Overlay.follow`). So times
    # ahead of the clock do not order causes and effects.
    return min([ends.now_ms, *later])


def time_ms(ends: Ends, limit: int | None) -> int:
    """Return the time of the cut: what was committed by then is in it, as far as clocks agree."""
    return ends.now_ms if limit is None else limit


def before_cut(
    ends: Ends, limit: int | None, partition: int, tail: Iterable[Copied]
) -> list[Copied]:
    """Return the events of a partition's tail that belong to the cut: a prefix of it."""
    kept = []
    for one in tail:
        is_late = limit is not None and one["record"]["occurred_at"] > limit
        if one["offset"] >= ends.history[partition] or is_late:
            break
        kept.append(one)
    return kept


def late_ms(limit: int | None, copied_ms: Mapping[int, int]) -> int:
    """Return by how much events that were copied earlier are stamped after the limit; else 0.

    Copied events cannot be left out, but a limit found so much later includes them.
    """
    return 0 if limit is None else max(0, max(copied_ms.values()) - limit)


def no_cut(copied_ms: Mapping[int, int]) -> Unavailable:
    """Return the error for copied events that no limit reaches in time."""
    ahead = max(copied_ms, key=lambda partition: copied_ms[partition])
    return Unavailable(
        f"partition {ahead} is stamped ahead of others while addresses change between "
        "partitions: no consistent cut was found",
        code="no_cut",
        next_step="run it again; if a handler's clock is ahead, correct it "
        "(clock_lead_seconds, docs/production.md)",
    )


def belongs(outcome: CommandOutcome, seq: int, limit: int | None) -> bool:
    """Return whether an answer belongs to a cut whose last event has this `seq`.

    Without a limit, an answer that changed nothing may be from a moment after the cut: it depends
    on no event after it in its partition.
    """
    if (outcome["seq"] or 0) > seq:
        return False
    return limit is None or outcome["status"] == ACCEPTED or outcome["decided_at"] <= limit


@dataclass(slots=True)
class Answers:
    """Which commands of a partition are decided within the cut; `take` each answer first.

    At a moment before the last events were copied, the answers ended at `start`, and all commands
    before `first_command` and address messages before `first_message` were decided. So whatever
    they accepted is copied. `reopened` are offsets of commands whose answer is not in the cut.
    """

    start: int
    first_command: int
    first_message: int
    answered: set[int] = field(default_factory=set)
    reopened: set[int] = field(default_factory=set)

    def take(self, one: Copied, seq: int, limit: int | None) -> bool:
        """Note an answer of `user-outcomes`; return whether it belongs to the cut."""
        offset = one["record"]["command_offset"]
        is_old = one["offset"] < self.start
        if is_old:
            self.first_command = max(self.first_command, offset + 1)
        is_in = belongs(one["record"], seq, limit)
        if not is_in:
            self.reopened.add(offset)
        elif not is_old:
            self.answered.add(offset)
        return is_in

    def earlier(self, changes: Mapping[int, UserCommand]) -> dict[int, UserCommand | None]:
        """Return the undecided commands before `first_command` by offset.

        These are `changes` of addresses in progress, and commands that must be read from the log
        (None).
        """
        found = {**dict.fromkeys(self.reopened), **changes}
        return {
            offset: found[offset]
            for offset in sorted(found.keys() - self.answered)
            if offset < self.first_command
        }


def changes_in_progress(
    messages: Iterable[AddressMessage], partitions: int
) -> dict[int, dict[int, UserCommand]]:
    """Return, by home partition and offset, the commands that messages in transit carry.

    A message has everything that its command asked for, so a command that retention has deleted
    survives. Copies of grants are left out: they decide nothing.
    """
    found: dict[int, dict[int, UserCommand]] = {}
    for message in messages:
        offset = message["command_offset"]
        if message["kind"] not in _CARRIES_COMMAND or message["again"] or offset is None:
            continue
        home = partition_of(user_shard(message["user_id"]), partitions)
        found.setdefault(home, {})[offset] = {
            "command_id": message["claim_id"],
            "issued_at": message["sent_at"],
            "kind": CHANGE,
            "user_id": message["user_id"],
            "email": message["email"],
            "name": None,
            "age": None,
            "expected_version": message["expected_version"],
            "issued_by": message["issued_by"],
        }
    return found
