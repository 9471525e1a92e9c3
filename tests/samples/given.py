"""Given → when → then for the command side: through `Overlay`, as the handler calls it."""

from collections import deque
from dataclasses import dataclass, field
from itertools import count

from producers.domain.address_change import apply_message, resend_open_grants
from producers.domain.decisions import decide_command
from producers.domain.outcome_window import OutcomeWindow
from producers.domain.overlay import Overlay
from producers.domain.state import PartitionState
from schemas.identity import email_key, email_shard, partition_of, user_shard, uuid_bytes
from schemas.records import (
    CHANGE_EMAIL,
    CREATE_USER,
    DELETE_USER,
    ERASE_USER,
    UPDATE_USER,
    AddressMessage,
    CommandOutcome,
    EmailClaim,
    UserCommand,
    UserEvent,
)

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


def change_email(
    user_id: str, email: str, expected_version: int | None = None, command_id: str = "change-1"
) -> UserCommand:
    """Return a ChangeEmail command."""
    command = update(user_id, expected_version=expected_version, command_id=command_id)
    return {**command, "kind": CHANGE_EMAIL, "email": email}


def delete(
    user_id: str, expected_version: int | None = None, command_id: str = "delete-1"
) -> UserCommand:
    """Return a DeleteUser command."""
    command = update(user_id, expected_version=expected_version, command_id=command_id)
    return {**command, "kind": DELETE_USER}


def erase(
    user_id: str, expected_version: int | None = None, command_id: str = "erase-1"
) -> UserCommand:
    """Return an EraseUser command."""
    command = update(user_id, expected_version=expected_version, command_id=command_id)
    return {**command, "kind": ERASE_USER}


def home_of(email: str) -> int:
    """Return the partition of an address among `PARTITIONS`."""
    return partition_of(email_shard(email_key(email)), PARTITIONS)


def address_in(number: int, tag: str = "new") -> str:
    """Return an address that belongs to partition `number`."""
    found = (f"{tag}{n}@example.com" for n in count())
    return next(email for email in found if home_of(email) == number)


def new_state(number: int) -> PartitionState:
    """Return the state of an empty partition."""
    return PartitionState(number, PARTITIONS, OutcomeWindow(1_000, 60_000))


@dataclass
class Partition:
    """One partition of the log in memory: every command is a separate batch, folded at once."""

    number: int = 0

    def __post_init__(self) -> None:
        self.state = new_state(self.number)
        self.events: list[UserEvent] = []
        self.outcomes: list[CommandOutcome] = []
        self.claims: list[tuple[str, EmailClaim | None]] = []
        self.erased_history: list[str] = []
        self.messages: list[tuple[int, AddressMessage]] = []
        self._random = count(1)
        self._offset = 0
        self.now = NOW

    def overlay(self) -> Overlay:
        """Return an overlay on the state, with ids that are the same in every run."""
        return Overlay(self.state, now=self.now, random_bits=lambda: next(self._random))

    def commit(self, overlay: Overlay) -> None:
        """Append what the overlay holds and fold it in."""
        overlay.fold()
        self.events += overlay.events
        self.outcomes += overlay.outcomes
        self.claims += overlay.claims
        self.erased_history += overlay.erased_history
        self.messages += overlay.messages

    def batch(self, *commands: UserCommand, commit: bool = True) -> list[CommandOutcome]:
        """Decide `commands` in one transaction; return their outcomes."""
        overlay = self.overlay()
        for offset, command in enumerate(commands, self._offset):
            decide_command(overlay, offset, command)
        if commit:
            self._offset += len(commands)
            self.commit(overlay)
        return overlay.outcomes

    def ask(self, command: UserCommand) -> CommandOutcome:
        """Decide one command in a separate transaction; return its outcome."""
        return self.batch(command)[0]

    def restored(self) -> PartitionState:
        """Return the state that a restore from this partition's records gives."""
        state = new_state(self.number)
        for event in self.events:
            state.restore_event(event)
        for outcome in self.outcomes:
            state.restore_outcome(outcome)
        for claim_id, claim in self.claims:
            state.restore_claim(claim_id, claim)
        state.finish_restore()
        return state

    def restart(self) -> None:
        """Forget the state, restore it, and send the open grants again."""
        self.state = self.restored()
        overlay = self.overlay()
        resend_open_grants(overlay)
        self.commit(overlay)


def registered(email: str = "jane@example.com", name: str = "Jane", age: int = 34) -> Partition:
    """Return the partition where `email` was registered by command `create`."""
    partition = Partition(home_of(email))
    partition.ask(create(email, name, age, command_id="create"))
    return partition


@dataclass
class Log:
    """All partitions, and the messages between them: those of one sender arrive in its order."""

    partitions: list[Partition] = field(
        default_factory=lambda: [Partition(number) for number in range(PARTITIONS)]
    )

    def __post_init__(self) -> None:
        self.in_transit: dict[tuple[int, int], deque[AddressMessage]] = {}

    def send(self, command: UserCommand) -> None:
        """Decide a command in its user's partition; its messages are then in transit."""
        if command["kind"] == CREATE_USER:
            home = home_of(command.get("email") or "")
        else:
            home = partition_of(user_shard(command.get("user_id") or ""), PARTITIONS)
        self.partitions[home].batch(command)
        self._post(home)

    def deliver(self, sender: int, receiver: int) -> None:
        """Apply the oldest message from one partition to another."""
        queue = self.in_transit[sender, receiver]
        partition = self.partitions[receiver]
        overlay = partition.overlay()
        apply_message(overlay, queue.popleft())
        if not queue:
            del self.in_transit[sender, receiver]
        partition.commit(overlay)
        self._post(receiver)

    def settle(self) -> None:
        """Deliver until no message is in transit."""
        while self.in_transit:
            self.deliver(*next(iter(self.in_transit)))

    def restart(self, number: int) -> None:
        """Restore a partition from its records."""
        self.partitions[number].restart()
        self._post(number)

    def _post(self, sender: int) -> None:
        for receiver, message in self.partitions[sender].messages:
            self.in_transit.setdefault((sender, receiver), deque()).append(message)
        self.partitions[sender].messages = []

    def ask(self, command: UserCommand) -> CommandOutcome:
        """Decide a command and deliver every message; return its first outcome."""
        self.send(command)
        self.settle()
        return self.outcome(command["command_id"])

    def outcome(self, command_id: str) -> CommandOutcome:
        """Return the first outcome of a command, which must have one."""
        found = (o for p in self.partitions for o in p.outcomes if o["command_id"] == command_id)
        return next(found)

    def create(self, email: str, command_id: str | None = None) -> str:
        """Register a user; return its id."""
        outcome = self.ask(
            create(email, command_id=command_id or f"create {email}".replace(" ", "-"))
        )
        assert outcome["user_id"] is not None
        return outcome["user_id"]

    def email_of(self, user_id: str) -> str | None:
        """Return a user's address, None once it is gone."""
        home = self.partitions[partition_of(user_shard(user_id), PARTITIONS)]
        known = home.overlay().user(uuid_bytes(user_id))
        return known.user["email"] if known and known.user else None

    def holder_of(self, email: str) -> str | None:
        """Return who holds or reserved an address, as its partition knows it."""
        return self.partitions[home_of(email)].overlay().holder_id(email_key(email))
