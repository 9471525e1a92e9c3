"""A reference model of the registry, written from the design and without the code under test.

It is a flat table of people and a list of users who wait for an address of another partition. It
models neither claims nor the content of messages. While messages about an address are in transit, a
refusal may name as holder any user who asked for the address or has left it; afterwards it accepts
only one answer.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.records import AddressMessage, CommandOutcome, UserCommand, UserEvent
from tests.unit.producers.domain.reference.rules import (
    ENDS,
    Person,
    Verdict,
    Wrong,
    changes,
    fields,
    first_answer,
    home_of_address,
    home_of_user,
    is_valid,
    require,
    state,
    wanted,
)


@dataclass
class Waiting:
    """An address change sent to another partition; a refusal may name any of `rivals`."""

    command: UserCommand
    rivals: set[str]

    @property
    def key(self) -> str:
        """The address, as uniqueness compares it."""
        return (self.command.get("email") or "").lower()


@dataclass
class Step:
    """One input of a partition, a command or a message, and everything it caused."""

    offset: int = 0
    command: UserCommand | None = None
    message: AddressMessage | None = None
    outcomes: Sequence[CommandOutcome] = ()
    events: Sequence[UserEvent] = ()
    sent: Sequence[AddressMessage] = ()


@dataclass
class Registry:
    """The reference. Pass each committed step to `take`, in the order of the log."""

    partitions: int
    people: dict[str, Person] = field(default_factory=dict)
    firsts: dict[tuple[int, str], tuple[UserCommand, CommandOutcome]] = field(default_factory=dict)
    waiting: dict[tuple[int, int], Waiting] = field(default_factory=dict)
    checks_answers: bool = True

    def __post_init__(self) -> None:
        self.seqs, self.times = [0] * self.partitions, [0] * self.partitions
        self.in_transit: Counter[str] = Counter()
        self.possible_holders: dict[str, set[str]] = {}

    def owner(self, key: str) -> str | None:
        """Return the live user who holds the address."""
        found = [p.user_id for p in self.people.values() if (p.email or "").lower() == key]
        require(len(found) < 2, "two live users with one address", found)
        return found[0] if found else None

    def take(self, number: int, step: Step) -> None:
        """Check that one step is permitted, and apply it to the table."""
        for message in step.sent:
            self.in_transit[message["email_key"] or ""] += 1
        if step.command is not None:
            self._take_command(number, step, step.command)
        elif step.message is not None:
            self._apply_message(number, step, step.message)
        else:
            require(not step.outcomes and not step.events, "grants sent again decide", step)

    def _take_command(self, number: int, step: Step, command: UserCommand) -> None:
        first = self.firsts.get((number, command["command_id"]))
        if first is not None and self.checks_answers:
            self._repeated(step, command, *first)
            return
        permitted = self.judge(number, command) if self.checks_answers else None
        if permitted is None or step.outcomes:
            self._answered(number, step, command, permitted)
            return
        require(permitted == [], "a command got no answer", command, permitted)
        person = self.people[command.get("user_id") or ""]
        key = (command.get("email") or "").lower()
        rivals = {owner} if (owner := self.owner(key)) else set()
        self._interest(key, person.user_id)
        rivals |= self.possible_holders.get(key, set())
        self.possible_holders.setdefault(key, set()).add(person.user_id)
        self.waiting[number, step.offset] = Waiting(command, rivals)

    def _repeated(
        self, step: Step, command: UserCommand, asked: UserCommand, first: CommandOutcome
    ) -> None:
        require(not step.events and len(step.outcomes) == 1, "a repeated id did something", step)
        [outcome] = step.outcomes
        if {**asked, "issued_at": 0} != {**command, "issued_at": 0}:
            require(outcome["code"] == "command_id_reused", "another body was answered", step)
            return
        for name in ("status", "code", "user_id", "version", "seq", "message"):
            require(outcome[name] == first[name], "a repeat got another answer", step, first)
        require(outcome["repeated"], "a repeated answer is not marked", step)

    def _apply_message(self, number: int, step: Step, message: AddressMessage) -> None:
        key = message["email_key"] or ""
        if step.outcomes:
            place = (number, step.outcomes[0]["command_offset"])
            waiting = self.waiting.pop(place, None)
            first = self.firsts.get((number, message["claim_id"]))
            if not self.checks_answers:
                self._answered(number, step, None, None)
            elif waiting is None:
                raise Wrong(f"a message answers a change that was not requested: {step}")
            elif first is not None:
                self._repeated(step, waiting.command, *first)
            else:
                self._answered(number, step, waiting.command, self._after_waiting(waiting))
        else:
            require(not step.events, "an event without an answer", step)
        for event in step.events:
            require(event["occurred_at"] >= message["sent_at"], "an event before its cause", step)
        if self.checks_answers and message["kind"] in {"granted", "refused"}:
            require(
                (number, message["claim_id"]) in self.firsts, "a message home is not answered", step
            )
        self.in_transit[key] -= 1
        if not self.in_transit[key]:
            self.possible_holders.pop(key, None)

    def _interest(self, key: str, user_id: str) -> None:
        """From now on a refusal of the address may name this user."""
        for waiting in self.waiting.values():
            if waiting.key == key:
                waiting.rivals.add(user_id)

    def judge(self, number: int, command: UserCommand) -> list[Verdict]:
        """Return the permitted answers; none if another partition must be asked first."""
        if not is_valid(command):
            return [Verdict(code="invalid_command")]
        key, user_id = (command.get("email") or "").lower(), command.get("user_id") or ""
        home = home_of_user(user_id, self.partitions) if user_id else self._home(key)
        if home != number:
            return [Verdict(code="wrong_partition")]
        if not user_id:
            return self._at_home_of(key, "UserCreated", "")
        person = self.people.get(user_id)
        found = first_answer(person, command)
        if found or person is None:
            return found
        if (person.email or "").lower() == key:
            return [Verdict(type="UserEmailChanged")]
        is_here = self._home(key) == number
        return self._at_home_of(key, "UserEmailChanged", user_id) if is_here else []

    def _home(self, key: str) -> int:
        return home_of_address(key, self.partitions)

    def _at_home_of(self, key: str, wanted: str, user_id: str) -> list[Verdict]:
        """Judge taking an address in its own partition: free, held, or possibly still held."""
        owner = self.owner(key)
        if owner not in (None, user_id):
            return [Verdict(code="user_already_exists", holders=frozenset({owner or ""}))]
        others = frozenset(self.possible_holders.get(key, set()))
        taken = [Verdict(code="user_already_exists", holders=others)] if others else []
        return [Verdict(type=wanted), *taken]

    def _after_waiting(self, waiting: Waiting) -> list[Verdict]:
        person = self.people[waiting.command.get("user_id") or ""]
        permitted = first_answer(person, waiting.command)
        if not permitted:
            if self.owner(waiting.key) in (None, person.user_id):
                permitted.append(Verdict(type="UserEmailChanged"))
            if waiting.rivals:
                holders = frozenset(waiting.rivals)
                permitted.append(Verdict(code="user_already_exists", holders=holders))
        return permitted

    def _answered(
        self,
        number: int,
        step: Step,
        command: UserCommand | None,
        permitted: list[Verdict] | None,
    ) -> None:
        """Require one permitted answer with exactly its event, and record it."""
        require(len(step.outcomes) <= 1 and len(step.events) <= 1, "more than one answer", step)
        for event in step.events:
            self._happened(number, event, command)
        for outcome in step.outcomes:
            if permitted is not None:
                seen = step.events[0]["type"] if step.events else None
                fits = [v for v in permitted if (v.code, v.type) == (outcome["code"], seen)]
                require(fits, "this answer is not permitted", step, permitted)
                if fits[0].holders:
                    require(outcome["user_id"] in fits[0].holders, "a wrong holder", step, fits)
                require(not outcome["repeated"], "a first answer is marked as repeated", step)
                require(outcome["seq"] == self.seqs[number], "a wrong token", step)
            self._remember(number, outcome, command)

    def _remember(self, number: int, outcome: CommandOutcome, command: UserCommand | None) -> None:
        command_id = outcome["command_id"]
        if outcome["status"] == "accepted" and not outcome["repeated"]:
            person = self.people[outcome["user_id"] or ""]
            require(outcome["version"] == person.version, "a wrong version", outcome, person)
        if command is not None:
            self.firsts.setdefault((number, command_id), (command, outcome))

    def _happened(self, number: int, event: UserEvent, command: UserCommand | None) -> None:
        """Apply an event after checking each of its fields against the table."""
        user_id, kind, user = event["user_id"], event["type"], event["user"]
        self.seqs[number] += 1
        require(event["seq"] == self.seqs[number], "seq has a gap", event)
        require(event["occurred_at"] >= self.times[number], "time went back", event)
        self.times[number] = event["occurred_at"]
        person = self.people.get(user_id)
        before = fields(person)
        version = person.version if person else 0
        require(event["version"] == version + 1, "version has a gap", event)
        require(
            home_of_user(user_id, self.partitions) == number,
            "an event in the wrong partition",
            event,
        )
        if person is None:
            require(kind == "UserCreated", "a first event that is not a creation", event)
            created = (event["occurred_at"], event["command_id"])
            person = self.people[user_id] = Person(user_id, 1, None, "", 0, created)
        require(not person.erased, "an erased user did something", event)
        if command is not None:
            after = {**before, **wanted(command)} if command["kind"] not in ENDS else {}
            require(state(user) == after, "a wrong state", event, before, command)
            told = [(c["field"], c["before"], c["after"]) for c in event["changes"]]
            require(told == changes(kind, before, after), "wrong changes", event, before)
        if user is not None:
            require(self.owner(user["email_key"]) in (None, user_id), "an address twice", event)
            require((user["created_at"], user["created_by"]) == person.created, "origin", event)
            self._interest(user["email_key"], user_id)
        left = (person.email or "").lower()
        if left and home_of_address(left, self.partitions) != number:
            self.possible_holders.setdefault(left, set()).add(user_id)
        person.version = event["version"]
        person.email = user["email"] if user else None
        person.name, person.age = (user["name"], user["age"]) if user else ("", 0)
        person.erased = kind == "UserErased"
