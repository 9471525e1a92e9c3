"""Pure checks of decisions: commands, outcomes and events must agree."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.formats import is_mark_id
from schemas.letters import HANDLER, Letter
from schemas.records import ACCEPTED, REJECTED, CommandOutcome
from scripts.verify.facts import NO_CUT, Check, Entry, Fact


class Command(NamedTuple):
    """A command's offset and id; the id is None if the record cannot be read.

    `may_wait` marks an address change: its answer may come after those of later commands.
    """

    offset: int
    command_id: str | None
    may_wait: bool = False


class Open(NamedTuple):
    """A command without an answer."""

    partition: int
    offset: int
    command_id: str | None
    may_wait: bool


@dataclass(slots=True)
class Decided:
    """One partition as it was read: its commands, outcomes and events.

    `committed` is the handler's offset before the reading, -1 for none. If the handler decided more
    during the reading, `cut` is the last seq decided before it. `*_begin` are the first offsets
    that retention has left. `erased` maps each erased user to the version of its marker; no earlier
    event is left.
    """

    partition: int
    facts: Sequence[Fact]
    outcomes: Sequence[CommandOutcome]
    commands: Iterable[Command]
    committed: int
    commands_end: int
    commands_begin: int = 0
    outcomes_begin: int = 0
    cut: int = NO_CUT
    erased: Mapping[str, int] = field(default_factory=dict)


class DecisionChecks:
    """Feed `partition` with each partition, `outcome_entry` with each record, `finish` once."""

    def __init__(self, window_commands: int, window_ms: int) -> None:
        self.window_commands = window_commands
        self.window_ms = window_ms
        self.offsets = Check("the handler's offsets are within the commands")
        self.form = Check("outcomes: each is keyed by its command and complete")
        self.order = Check(
            "outcomes: first answers follow the commands' order, except address changes"
        )
        self.answered = Check(
            "every decided command has an outcome, a dead letter or messages in transit"
        )
        self.asked = Check("every outcome answers a command on the log")
        self.effect = Check("every acceptance has its one event, or changed nothing")
        self.cause = Check("every event has its acceptance")
        self.once = Check("no command id is accepted twice within the window")
        self.letters = Check("dead letters of commands", listing=True)
        self._open: list[Open] = []

    def checks(self) -> list[Check]:
        """Return all checks in the order they are shown."""
        return [
            *(self.offsets, self.answered, self.asked, self.form, self.order),
            *(self.once, self.effect, self.cause, self.letters),
        ]

    def outcome_entry(self, entry: Entry) -> CommandOutcome | None:
        """Check one outcome on its own; return it, or None for a foreign record."""
        outcome: CommandOutcome | None = entry.record
        if outcome is None:
            return None
        self.form.looked_at += 1
        accepted = outcome["status"] == ACCEPTED
        if (
            entry.key != outcome["command_id"]
            or outcome["status"] not in {ACCEPTED, REJECTED}
            or accepted != (outcome["code"] is None)
            or outcome["seq"] is None
            or (accepted and (outcome["user_id"] is None or outcome["version"] is None))
        ):
            self.form.report(f"user-outcomes {entry.where}")
        return outcome

    def partition(self, decided: Decided) -> None:
        """Check one partition."""
        self._check_offsets(decided)
        late = self._check_order(decided)
        self._check_answers(decided, late)
        self._check_effects(decided)

    def _check_offsets(self, decided: Decided) -> None:
        self.offsets.looked_at += 1
        where = f"partition {decided.partition}"
        if decided.committed > decided.commands_end:
            self.offsets.report(
                f"{where}: offset {decided.committed} beyond the end {decided.commands_end}"
            )
        if decided.committed < 0 and decided.outcomes:
            self.offsets.report(f"{where}: outcomes, but no offset")

    def _check_order(self, decided: Decided) -> dict[int, int]:
        """Return the commands answered out of order, each with the one answered before it."""
        last, late = -1, {}
        accepted: dict[str, CommandOutcome] = {}
        for outcome in decided.outcomes:
            if outcome["repeated"]:
                continue
            self.order.looked_at += 1
            offset, command_id = outcome["command_offset"], outcome["command_id"]
            where = f"partition {decided.partition} command {offset}"
            if offset <= last:
                late[offset] = last
            last = max(last, offset)
            if outcome["status"] != ACCEPTED:
                continue
            self.once.looked_at += 1
            first = accepted.get(command_id)
            if first is not None and self._remembered(first, outcome):
                self.once.report(f"{where} and {first['command_offset']}: id {command_id}")
            accepted[command_id] = outcome
        return late

    def _remembered(self, first: CommandOutcome, second: CommandOutcome) -> bool:
        """Return whether the handler still had to remember `first` when it decided `second`."""
        return (
            second["command_offset"] - first["command_offset"] < self.window_commands
            or second["decided_at"] - first["decided_at"] <= self.window_ms
        )

    def _check_answers(self, decided: Decided, late: dict[int, int]) -> None:
        """Pair commands with outcomes by offset, where retention has left both."""
        answers = self._first_answers(decided)
        oldest = min(answers, default=decided.committed) if decided.outcomes_begin else 0
        for command in decided.commands:
            if command.may_wait:
                late.pop(command.offset, None)
            if command.offset < decided.committed:
                self._check_command(decided.partition, command, answers, oldest)
        for offset, before in late.items():
            if offset >= decided.commands_begin:
                self.order.report(
                    f"partition {decided.partition} command {offset} answered after {before}"
                )
        for offset in answers:
            self._check_unasked(decided, offset)

    def _first_answers(self, decided: Decided) -> dict[int, str]:
        """Return the command id answered at each offset; report a second answer to one offset.

        Unless the first is so old that the handler had forgotten it: a grant resent after a long
        outage is then refused.
        """
        answers: dict[int, str] = {}
        times: dict[int, int] = {}
        for outcome in decided.outcomes:
            offset, time = outcome["command_offset"], outcome["decided_at"]
            self.answered.looked_at += 1
            if offset in times and time - times[offset] <= self.window_ms:
                self.answered.report(
                    f"partition {decided.partition} command {offset} was answered twice"
                )
            answers[offset], times[offset] = outcome["command_id"], time
        return answers

    def _check_command(
        self, partition: int, command: Command, answers: dict[int, str], oldest: int
    ) -> None:
        answer = answers.pop(command.offset, None)
        self.asked.looked_at += 1
        if answer is None:
            if command.offset >= oldest:
                self._open.append(
                    Open(partition, command.offset, command.command_id, command.may_wait)
                )
        elif answer != command.command_id:
            self.asked.report(
                f"partition {partition} command {command.offset} has the answer to another command"
            )

    def _check_unasked(self, decided: Decided, offset: int) -> None:
        """Report an answer without a decided command."""
        where = f"partition {decided.partition}"
        if decided.commands_begin <= offset < decided.committed:
            self.asked.report(f"{where} has no command {offset}")
        elif offset >= decided.committed and decided.cut == NO_CUT:
            self.asked.report(
                f"{where} command {offset} is answered beyond the committed offset "
                f"{decided.committed}"
            )

    def _check_effects(self, decided: Decided) -> None:
        """Walk through events and acceptances side by side, both in the order of seq."""
        versions: dict[str, int] = {}
        facts = decided.facts
        at = _first_explained(decided, versions)
        for outcome in decided.outcomes:
            seq = outcome["seq"] or 0
            if outcome["repeated"] or seq > decided.cut:
                continue
            accepted = outcome["status"] == ACCEPTED
            while at < len(facts) and facts[at].seq <= seq:
                fact = facts[at]
                if accepted and fact.seq == seq and fact.command_id == outcome["command_id"]:
                    break
                self._report_uncaused(decided, fact)
                versions[fact.user_id] = fact.version
                at += 1
            user_id, version = outcome["user_id"] or "", outcome["version"]
            if not accepted or is_mark_id(user_id):  # of a partition's format: no event
                continue
            self.effect.looked_at += 1
            if at < len(facts) and facts[at].seq == seq:
                versions[facts[at].user_id] = facts[at].version
                self.cause.looked_at += 1
                right = facts[at].user_id == user_id and facts[at].version == version
                at += 1
            else:
                right = versions.get(user_id) == version
            if not right and (version or 0) >= decided.erased.get(user_id, 0):
                self.effect.report(
                    f"partition {decided.partition} command {outcome['command_offset']}: user "
                    f"{user_id} version {version}"
                )
        for fact in facts[at:]:
            if fact.seq <= decided.cut:
                self._report_uncaused(decided, fact)

    def _report_uncaused(self, decided: Decided, fact: Fact) -> None:
        self.cause.looked_at += 1
        self.cause.report(
            f"partition {decided.partition} seq {fact.seq}: user {fact.user_id} "
            f"version {fact.version}"
        )

    def waiting(self) -> list[Open]:
        """Return the address changes that had no answer when the outcomes were read."""
        return [one for one in self._open if one.may_wait]

    def finish(
        self,
        letters: Iterable[Letter],
        commands_topic: str,
        settled: AbstractSet[Open] = frozenset(),
    ) -> None:
        """List the open ones of `letters` that are of commands; check what only they can explain.

        `settled` are commands that have been answered since, or have messages in transit.
        """
        dead = set()
        for letter in (one for one in letters if one.topic == commands_topic):
            self.letters.looked_at += 1
            if letter.is_open:
                where = f"partition {letter.partition} offset {letter.offset}"
                self.letters.report(f"{where}: {letter.error} ({letter.reader})")
            # Settled or not, this command was skipped: a retry appends it again at a later offset.
            if letter.reader == HANDLER:
                dead.add((letter.partition, letter.offset))
        for one in self._open:
            self.answered.looked_at += 1
            if one not in settled and (one.partition, one.offset) not in dead:
                self.answered.report(
                    f"partition {one.partition} command {one.offset} was never answered"
                )


def _first_explained(decided: Decided, versions: dict[str, int]) -> int:
    """Skip the events whose outcomes retention has removed; return the first to explain."""
    if not decided.outcomes_begin:
        return 0
    first = decided.outcomes[0] if decided.outcomes else None
    at = 0
    for fact in decided.facts:
        explained = first is not None and (
            fact.seq > (first["seq"] or 0)
            or (fact.seq == first["seq"] and fact.command_id == first["command_id"])
        )
        if explained:
            break
        versions[fact.user_id] = fact.version
        at += 1
    return at
