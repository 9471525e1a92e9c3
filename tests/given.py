"""given → when → then for the deciding side: through `Decisions`, as the handler calls it."""

from dataclasses import dataclass, field
from itertools import count

from producers.decisions import Decisions
from producers.state import OutcomeWindow, PartitionState
from schemas.identity import email_key, email_shard, partition_of
from schemas.records import CREATE_USER, UPDATE_USER, CommandOutcome, UserCommand, UserEvent

NOW = 1_790_000_000_000
PARTITIONS = 4


def create(
    email: str, name: str = "Jane", age: int = 34, command_id: str | None = None
) -> UserCommand:
    """Return a CreateUser command; its id follows from the e-mail unless given."""
    return {
        "command_id": command_id or f"create-{email_shard(email)}",
        "issued_at": NOW,
        "kind": CREATE_USER,
        "user_id": None,
        "email": email,
        "name": name,
        "age": age,
        "expected_version": None,
        "issued_by": None,
    }


def update(
    user_id: str,
    name: str | None = None,
    age: int | None = None,
    expected_version: int | None = None,
    command_id: str = "update-1",
) -> UserCommand:
    """Return an UpdateUser command."""
    return {
        "command_id": command_id,
        "issued_at": NOW,
        "kind": UPDATE_USER,
        "user_id": user_id,
        "email": None,
        "name": name,
        "age": age,
        "expected_version": expected_version,
        "issued_by": None,
    }


def home_of(email: str) -> int:
    """Return the partition of an address among `PARTITIONS`."""
    return partition_of(email_shard(email_key(email)), PARTITIONS)


@dataclass
class Partition:
    """One partition of the log in memory: every command is a batch of its own, folded at once."""

    number: int = 0
    window: OutcomeWindow = field(default_factory=lambda: OutcomeWindow(1_000, 3_600_000))

    def __post_init__(self) -> None:
        self.state = PartitionState(self.window)
        self.events: list[UserEvent] = []
        self.outcomes: list[CommandOutcome] = []
        self._random = count(1)
        self._offset = 0
        self.now = NOW

    def batch(self, *commands: UserCommand, commit: bool = True) -> list[CommandOutcome]:
        """Decide `commands` in one transaction; return their outcomes."""
        decisions = Decisions(
            self.state,
            self.number,
            PARTITIONS,
            now=self.now,
            random_bits=lambda: next(self._random),
        )
        for offset, command in enumerate(commands, self._offset):
            decisions.decide(offset, command)
        if commit:
            decisions.fold()
            self._offset += len(commands)
            self.events += decisions.events
            self.outcomes += decisions.outcomes
        return decisions.outcomes

    def ask(self, command: UserCommand) -> CommandOutcome:
        """Decide one command in a transaction of its own; return its outcome."""
        return self.batch(command)[0]


def registered(email: str = "jane@example.com", name: str = "Jane", age: int = 34) -> Partition:
    """Return the partition where `email` was registered by command `create`."""
    partition = Partition(home_of(email))
    partition.ask(create(email, name, age, command_id="create"))
    return partition
