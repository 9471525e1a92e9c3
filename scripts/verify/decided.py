"""What was asked and answered in one partition, as the checks of decisions take it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.records import CommandOutcome
from scripts.verify.facts import NO_CUT, Fact


class Command(NamedTuple):
    """A command's place and id; the id is None where it cannot be read.

    `may_wait` for a change of address: its answer may come after those of later commands.
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
    """One partition as it was read: what was asked, answered and done.

    `committed` is the handler's offset before the reading, -1 for none; `cut` the last seq decided
    by then, if the handler went on meanwhile. `*_begin` tell what retention has removed, `erased`
    the version of each erased user's marker, below which no event is left.
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
