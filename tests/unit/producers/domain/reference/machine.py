"""All partitions of a log, their current owners, and the reference beside them.

Clients send commands and send them again, handlers work in batches that commit or abort, partitions
change hands and are restored from any legal compaction, and messages arrive whenever their
partition works.
"""

from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from producers.domain.address_change import apply_message, resend_open_grants
from producers.domain.decisions import decide_command
from producers.domain.outcome_window import OutcomeWindow
from producers.domain.overlay import Overlay
from producers.domain.state import PartitionState
from schemas.errors import Poisoned
from schemas.records import AddressMessage, UserCommand
from schemas.topics import COMMANDS, HISTORY, HOPS
from tests.samples.given import NOW
from tests.unit.producers.domain.reference.log import CODECS, PartitionLog, Window, contents
from tests.unit.producers.domain.reference.model import Registry, Step
from tests.unit.producers.domain.reference.rules import home_of_address, home_of_user, require
from tests.unit.producers.domain.reference.verify import verified
from tests.unit.producers.domain.reference.wishes import PARTITIONS, POOL, WISH, WISHES


class RegistryMachine(RuleBasedStateMachine):
    """All partitions, their logs, their current owners, and the reference beside them."""

    overlay_class: ClassVar[type[Overlay]] = Overlay
    state_class: ClassVar[type[PartitionState]] = PartitionState
    window: ClassVar[Window] = Window(100_000, 10**9)

    def __init__(self) -> None:
        super().__init__()
        self.logs = [PartitionLog() for _ in range(PARTITIONS)]
        self.states = [
            self.state_class(number, PARTITIONS, OutcomeWindow(*self.window))
            for number in range(PARTITIONS)
        ]
        self.next = [{COMMANDS.name: 0, HOPS.name: 0} for _ in range(PARTITIONS)]
        self.has_open_grants = [False] * PARTITIONS
        self.model = Registry(PARTITIONS, checks_answers=self.window.commands > 1_000)
        self.asked: list[tuple[int, UserCommand]] = []
        self.clock = NOW
        self._numbers = count(1)

    @initialize(users=st.integers(0, len(POOL) - 1))
    def begin(self, users: int) -> None:
        """Some users exist already."""
        for email in POOL[::2][:users] + POOL[1::2][: max(0, users - 3)]:
            self._wish(WISH | {"kind": "CreateUser", "email": email})
        self.settle(0)

    # What clients do.

    @rule(wishes=st.lists(WISHES, min_size=1, max_size=4))
    def ask(self, wishes: list[dict[str, Any]]) -> None:
        """Clients append commands."""
        for wish in wishes:
            self._wish(wish)

    def _wish(self, wish: dict[str, Any]) -> None:
        command = self._command(wish)
        if command is not None:
            self._append(*command)

    @rule(
        who=st.integers(0, 7),
        further=st.integers(1, 3),
        email=st.integers(0, len(POOL) - 1),
        shares=st.sampled_from(["address", "id", "both"]),
    )
    def race(self, who: int, further: int, email: int, shares: str) -> None:
        """Two users ask for one address, or for two of one partition under one command id."""
        wish = WISH | {"who": who, "email": POOL[email]}
        self._wish(wish)
        address = POOL[email ^ (shares == "id")]
        command_id = "new" if shares == "address" else "old"
        self._wish(wish | {"who": who + further, "email": address, "id": command_id})

    @rule(which=st.integers(0, 50), bodies=st.lists(st.booleans(), min_size=1, max_size=3))
    def ask_again(self, which: int, bodies: list[bool]) -> None:
        """A client without an answer sends the same command again, or another under its id."""
        if self.asked:
            number, command = self.asked[-1 - which % len(self.asked)]
            for is_other in bodies:
                again: UserCommand = {**command, "age": 77} if is_other else command
                self._append(number, again)

    def _append(self, number: int, command: UserCommand) -> None:
        self.asked.append((number, command))
        self.logs[number].append(COMMANDS.name, command["command_id"], command)

    def _command(self, wish: dict[str, Any]) -> tuple[int, UserCommand] | None:
        kind, people = wish["kind"], list(self.model.people.values())
        command_id = {"new": f"c{next(self._numbers)}", "bad": "no id"}.get(wish["id"])
        if command_id is None:
            if not self.asked:
                return None
            command_id = self.asked[-1 - wish["which"] % len(self.asked)][1]["command_id"]
        creates = kind == "CreateUser"
        if not creates and not people:
            return None
        person = None if creates else people[-1 - wish["who"] % len(people)]
        expected = wish["expected"]
        if expected == "right":
            expected = person.version if person else 1
        command: UserCommand = {
            "command_id": command_id,
            "issued_at": self.clock,
            "kind": kind,
            "user_id": person.user_id if person else None,
            "email": wish["email"] if kind in {"CreateUser", "ChangeEmail"} else None,
            "name": wish["name"] if kind in {"CreateUser", "UpdateUser"} else None,
            "age": wish["age"] if kind in {"CreateUser", "UpdateUser"} else None,
            "expected_version": None if creates else expected,
            "issued_by": None,
        }
        if person is None:
            home = home_of_address(wish["email"].lower(), PARTITIONS)
        else:
            home = home_of_user(person.user_id, PARTITIONS)
        return (home + (wish["place"] == "elsewhere")) % PARTITIONS, command

    # What handlers do.

    @rule(
        number=st.integers(0, PARTITIONS - 1),
        most=st.integers(1, 6),
        order=st.integers(0, 1 << 16),
        ends=st.sampled_from(["commit"] * 5 + ["abort"]),
    )
    def work(self, number: int, most: int, order: int, ends: str = "commit") -> None:
        """One batch of one partition: some of its commands and messages, in any interleaving."""
        self.clock += Random(order).randint(-5, 20)
        log, places = self.logs[number], dict(self.next[number])
        overlay = self.overlay_class(
            self.states[number], now=self.clock, random_bits=lambda: next(self._numbers)
        )
        steps = []
        if self.has_open_grants[number]:
            steps.append(self._step(overlay, lambda: resend_open_grants(overlay)))
        random = Random(order)
        for _ in range(most):
            waiting = [name for name, at in places.items() if at < len(log.topics[name])]
            if not waiting:
                break
            name = random.choice(waiting)
            record = log.topics[name][places[name]]
            places[name] += 1
            steps.append(self._input(overlay, name, record.offset, record.value))
        if ends == "commit":
            self._commit(number, overlay, steps, places)

    def _input(self, overlay: Overlay, name: str, offset: int, value: bytes | None) -> Step:
        record = CODECS[name].decode(value)
        if name == COMMANDS.name:
            return self._step(
                overlay, lambda: decide_command(overlay, offset, record), offset, command=record
            )
        return self._step(overlay, lambda: apply_message(overlay, record), offset, message=record)

    def _step(
        self,
        overlay: Overlay,
        action: Callable[[], None],
        offset: int = 0,
        *,
        command: UserCommand | None = None,
        message: AddressMessage | None = None,
    ) -> Step:
        """Apply one input to the overlay; return it with everything it caused."""
        before = len(overlay.outcomes), len(overlay.events), len(overlay.messages)
        try:
            action()
        except Poisoned as poisoned:
            require(poisoned.code == "bad_command_id", "poisoned", poisoned.code)
            return Step()
        return Step(
            offset,
            command,
            message,
            overlay.outcomes[before[0] :],
            overlay.events[before[1] :],
            [sent for _target, sent in overlay.messages[before[2] :]],
        )

    def _commit(
        self, number: int, overlay: Overlay, steps: list[Step], places: dict[str, int]
    ) -> None:
        self.logs[number].commit(overlay)
        for target, message in overlay.messages:
            self.logs[target].append(HOPS.name, message["claim_id"], message)
        overlay.fold()
        self.next[number], self.has_open_grants[number] = places, False
        for step in steps:
            self.model.take(number, step)

    @rule(number=st.integers(0, PARTITIONS - 1), seed=st.integers(0, 1 << 16))
    def hand_over(self, number: int, seed: int) -> None:
        """Another process restores the partition from what compaction has left."""
        before = self.states[number]
        after = self.state_class(number, PARTITIONS, OutcomeWindow(*self.window))
        self.logs[number].restore(after, self.window, Random(seed))
        ids = self.logs[number].remembered(self.window)
        require(
            contents(after, ids) == contents(before, ids),
            "a restore gives another state",
            contents(before, ids),
            contents(after, ids),
        )
        # Not `==`: a batch of messages alone records its time nowhere, and nothing depends on it.
        require(self.model.times[number] <= after.last_time, "time goes back after a restore")
        self.states[number], self.has_open_grants[number] = after, True

    @rule(order=st.integers(0, 1 << 16))
    def settle(self, order: int) -> None:
        """All messages in transit arrive; afterwards nothing may be open."""
        random = Random(order)
        while busy := [n for n in range(PARTITIONS) if self._is_busy(n)]:
            self.work(random.choice(busy), 6, random.randint(0, 1 << 16))
        require(not self.model.waiting, "never answered", self.model.waiting)
        for number, state in enumerate(self.states):
            self._check_addresses(number, state)
            self._check_history(number)

    def _is_busy(self, number: int) -> bool:
        topics = self.logs[number].topics
        return self.has_open_grants[number] or any(
            at < len(topics[name]) for name, at in self.next[number].items()
        )

    def _check_addresses(self, number: int, state: PartitionState) -> None:
        """No address is stuck: each is held by a live user or free."""
        claimed = {
            (key, c["user_id"], c["status"]) for key, claims in state.claims.items() for c in claims
        }
        away = {
            (person.email.lower(), person.user_id, "held")
            for person in self.model.people.values()
            if person.email
            and home_of_address(person.email.lower(), PARTITIONS) == number
            and home_of_user(person.user_id, PARTITIONS) != number
        }
        require(claimed == away, "claims are not those of users living away", claimed, away)
        for email in POOL:
            if home_of_address(email, PARTITIONS) == number:
                holder = self.overlay_class(state, now=self.clock).holder_id(email)
                require(holder == self.model.owner(email), "an address is stuck", email, holder)

    def _check_history(self, number: int) -> None:
        """Every event exists once under its key; of an erased user only the last one."""
        left = {record.key: record.value for record in self.logs[number].topics[HISTORY.name]}
        wanted = {
            f"{person.user_id}:{version}": not person.erased or version == person.version
            for person in self.model.people.values()
            if home_of_user(person.user_id, PARTITIONS) == number
            for version in range(1, person.version + 1)
        }
        require({key: value is not None for key, value in left.items()} == wanted, "history", left)

    def teardown(self) -> None:
        """After every run all messages are delivered, and `rollbook verify` finds nothing wrong."""
        self.settle(0)
        random = Random(len(self.asked))
        checks = verified(self.logs, self.window, random, decisions=self.model.checks_answers)
        broken = [(check.promise, check.examples) for check in checks if not check.holds]
        require(not broken, "the verifier finds something wrong", broken)
