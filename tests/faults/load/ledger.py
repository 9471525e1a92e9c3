"""Compares what callers were told with the log, which is decided again by a model of users.

The model knows creations, updates and erasures. All that it knows of a user is in one partition,
because none of them moves a user or an address to another one.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from runtime.settings import Settings
from schemas.records import CREATE_USER, ERASE_USER, CommandOutcome, UserCommand, UserEvent
from schemas.topics import COMMANDS, HISTORY, OUTCOMES
from tests.faults.load.commands import CERTAIN, FINAL, NOT_SENT, Told, TrackedCommand
from tests.observed.log import read
from tests.started.processes import eventually

# An answer has these fields of the record that the handler wrote.
_SAME: Final = ("command_id", "user_id", "version")


class Ledger:
    """The commands, outcomes and events of a registry, once every command is decided."""

    def __init__(self, settings: Settings) -> None:
        def is_decided() -> bool:
            return _ids(settings, COMMANDS) <= _ids(settings, OUTCOMES)

        eventually(is_decided, what="every command on the log is decided")
        self.commands: dict[str, list[UserCommand]] = defaultdict(list)
        for _, command in read(settings, COMMANDS):
            self.commands[command["command_id"]].append(command)
        self._partitions: dict[str, int] = {}
        self.decided: dict[str, CommandOutcome] = {}
        self._doubled: list[str] = []
        for partition, outcome in read(settings, OUTCOMES):
            if outcome["repeated"]:
                continue
            if outcome["command_id"] in self.decided:
                self._doubled.append(f"{outcome['command_id']} was decided twice")
            self.decided[outcome["command_id"]] = outcome
            self._partitions[outcome["command_id"]] = partition
        # A tombstone overwrites each event of an erased user.
        self._events: list[tuple[int, UserEvent]] = list(read(settings, HISTORY, skip_foreign=True))

    def erased_at(self) -> dict[str, int]:
        """Return user id → when the handler decided to erase the user, in Unix milliseconds."""
        found: dict[str, int] = {}
        for outcome in self.decided.values():
            kind = self.commands[outcome["command_id"]][0]["kind"]
            if outcome["status"] == "accepted" and kind == ERASE_USER:
                user_id, at = str(outcome["user_id"]), outcome["decided_at"]
                found[user_id] = min(at, found.get(user_id, at))  # it may be erased again
        return found

    def flaws(self, commands: Sequence[TrackedCommand]) -> list[str]:
        """Return what is wrong with the log, and with what callers were told; [] if nothing is."""
        found = [*self._doubled, *self._flaws_of_decisions(), *self._flaws_of_order(commands)]
        for one in commands:
            found += [f"{one.command_id}: {flaw}" for flaw in self._flaws_of_answers(one)]
        return found

    def _flaws_of_decisions(self) -> Iterator[str]:
        """Decide every command again, in the order of the log; yield what was decided otherwise."""
        models: dict[int, _Model] = defaultdict(_Model)
        changes: list[tuple[Any, ...]] = []
        in_order = sorted(self.decided.values(), key=lambda outcome: outcome["command_offset"])
        for outcome in in_order:
            command = self.commands[outcome["command_id"]][0]
            model = models[self._partitions[outcome["command_id"]]]
            change = model.decide(command, outcome)
            expected = (change.code, change.user_id, change.version)
            if expected != (outcome["code"], outcome["user_id"], outcome["version"]):
                yield f"{command['kind']}: {outcome} instead of {expected}"
            if change.has_event:
                changes.append((outcome["command_id"], *expected[1:], outcome["seq"]))
        events = [(e["command_id"], e["user_id"], e["version"], e["seq"]) for _, e in self._events]
        if sorted(events) != sorted(changes):
            yield f"events are not one for each change: {set(events) ^ set(changes)}"
        for partition in models:
            seqs = [event["seq"] for number, event in self._events if number == partition]
            if seqs != list(range(1, len(seqs) + 1)):
                yield f"partition {partition} has gaps or repetitions of seq"

    def _flaws_of_order(self, commands: Sequence[TrackedCommand]) -> Iterator[str]:
        """Yield lines of a stream that were decided before an earlier one about the same user.

        Those that were sent again are passed over: they were decided whenever that was.
        """
        last: dict[tuple[str, str], int] = {}
        for one in commands:
            stream = one.stream
            if stream and one.kind != CREATE_USER and len(one.told) == 1:
                offset = self.decided[one.command_id]["command_offset"]
                if offset < last.get((stream, one.user_id), 0):
                    yield f"{one.command_id} was decided before an earlier line"
                last[stream, one.user_id] = offset

    def _flaws_of_answers(self, command: TrackedCommand) -> Iterator[str]:
        if not command.is_decided():
            yield f"its caller never got an answer: {command.told}"
            return
        outcome = self.decided.get(command.command_id)
        if outcome is None:
            yield f"it is not on the log: {command.told}"
            return
        if not command.told[0].sent_at <= outcome["decided_at"] <= command.told[-1].answered_at:
            yield f"decided at {outcome['decided_at']}, not between {command.told}"
        for told in command.told:
            if told.says in FINAL and not self._is_told(told, outcome):
                yield f"{told} instead of {outcome}"
        yield from self._flaws_of_sending(command)

    def _is_told(self, told: Told, outcome: CommandOutcome) -> bool:
        seq = outcome["seq"]
        partition = self._partitions[outcome["command_id"]]
        token = None if seq is None else f"{partition}:{seq}"
        same = all(told.outcome.get(name) == outcome[name] for name in _SAME)
        is_rejected = outcome["code"] is not None
        return (
            same
            and told.says == outcome["status"]
            and told.outcome.get("token") == token
            and (not is_rejected or told.outcome["code"] == outcome["code"])
        )

    def _flaws_of_sending(self, command: TrackedCommand) -> Iterator[str]:
        """Yield records of attempts that were told that nothing was sent, and those of none."""
        issued = [record["issued_at"] for record in self.commands[command.command_id]]
        for at in issued:
            possible = [told for told in command.told if told.sent_at <= at <= told.answered_at]
            if all(told.says == NOT_SENT for told in possible):
                yield f"sent at {at}, although told {possible}"
        certain = [told for told in command.told if told.says == CERTAIN]
        for told in certain:
            if not any(at <= told.answered_at for at in issued):
                yield f"not on the log at {told}"


class _Decision(NamedTuple):
    """The true outcome of a command."""

    code: str | None
    user_id: str
    version: int | None
    has_event: bool = False


class _Model:
    """The users of a partition."""

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}
        self._erased: set[str] = set()
        # Address → the user who holds it, and the reverse.
        self._holders: dict[str, str] = {}
        self._addresses: dict[str, str] = {}

    def decide(self, command: UserCommand, outcome: CommandOutcome) -> _Decision:
        """Apply a command; the id of a new user is taken from `outcome`."""
        if command["kind"] == CREATE_USER:
            return self._create(str(command.get("email")), str(outcome["user_id"]))
        user_id = str(command.get("user_id"))
        known, expected = self._versions[user_id], command.get("expected_version")
        if user_id in self._erased and command["kind"] != ERASE_USER:
            return _Decision("user_not_found", user_id, known)
        if expected not in {None, known}:
            return _Decision("version_conflict", user_id, known)
        if user_id in self._erased:
            return _Decision(None, user_id, known)
        if command["kind"] == ERASE_USER:
            self._erased.add(user_id)
            del self._holders[self._addresses[user_id]]
        self._versions[user_id] = known + 1
        return _Decision(None, user_id, known + 1, has_event=True)

    def _create(self, email: str, user_id: str) -> _Decision:
        holder = self._holders.get(email)
        if holder is not None:
            return _Decision("user_already_exists", holder, None)
        self._holders[email], self._addresses[user_id], self._versions[user_id] = user_id, email, 1
        return _Decision(None, user_id, 1, has_event=True)


def _ids(settings: Settings, topic: Any) -> set[str]:
    return {record["command_id"] for _, record in read(settings, topic)}
