"""Random histories of many users against a reference written without the code under test.

A failure prints the shrunk steps that lead to it and a `@reproduce_failure` blob: put that above
`class RegistryMachine` to run only these steps again. `make test-deep` tries many more. The second
half breaks the deciding side in ways in which it was or could be broken, and requires that the same
machine detects each.
"""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from producers.domain import address_change
from producers.domain.overlay import Overlay
from producers.domain.state import PartitionState
from schemas.records import AddressMessage, CommandOutcome, EmailClaim, User, UserEvent
from tests.depth import depth
from tests.unit.producers.domain.reference.log import Window
from tests.unit.producers.domain.reference.machine import RegistryMachine
from tests.unit.producers.domain.reference.rules import Wrong

EXAMPLES = settings(
    max_examples=depth(30, 5_000),
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
UNTIL_FOUND = settings(
    EXAMPLES, max_examples=3_000, phases=[Phase.generate], database=None, derandomize=True
)


class ForgetfulMachine(RegistryMachine):
    """Outcomes are soon forgotten: answers may differ from the first, stored state may not."""

    window = Window(6, 40)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("machine", [RegistryMachine, ForgetfulMachine])
def test_the_registry_answers_as_the_reference(machine: type[RegistryMachine]) -> None:
    """At each step versions, seqs, states and answers are those that the reference permits.

    A state restored from any legal compaction equals the live one; an abort leaves no trace. Once
    all messages have arrived, every command is answered, every address is held or free as in the
    reference, and nothing is reserved.
    """
    run_state_machine_as_test(machine, settings=EXAMPLES)


class NeverFrees(Overlay):
    """An address left behind in another partition stays taken."""

    def send(self, shard: int, message: AddressMessage) -> None:
        if message["kind"] != "free":
            super().send(shard, message)


class NeverReleases(Overlay):
    """A grant that is not used stays reserved."""

    def send(self, shard: int, message: AddressMessage) -> None:
        if message["kind"] != "release":
            super().send(shard, message)


class GrantsWithoutReserving(Overlay):
    """Two users are granted one address."""

    def put_claim(self, claim: EmailClaim) -> None:
        """Forget it."""


class OneKeyForTwoClaims(Overlay):
    """Claims are keyed by their command id, which two users may share."""

    def put_claim(self, claim: EmailClaim) -> None:
        super().put_claim(claim)
        self.claims[-1] = (claim["claim_id"], claim)

    def drop_claim(self, claim: EmailClaim) -> None:
        super().drop_claim(claim)
        self.claims[-1] = (claim["claim_id"], None)


class KeepsOldAddress(Overlay):
    """An address of the same partition stays taken when its user leaves it."""

    def _move_address(self, packed_id: bytes, before: User | None, after: User | None) -> None:
        super()._move_address(packed_id, before, after)
        self._emails = {key: holder for key, holder in self._emails.items() if holder}


class LeaksOnAbort(Overlay):
    """An answer is remembered before it is on the log."""

    def append_outcome(self, outcome: CommandOutcome) -> None:
        super().append_outcome(outcome)
        self.state.window.add(outcome)


class DecidesTwice(Overlay):
    """A repeated command is decided again."""

    def answer(self, command_id: str) -> None:
        """Forget it."""


class TakesARefusalForTheAnswer(Overlay):
    """The last answer of a batch to an id is preferred to the first one."""

    def answer(self, command_id: str) -> CommandOutcome | None:
        return self._answers.get(command_id) or self.state.window.get(command_id)


class LeavesHistory(Overlay):
    """An erased user's past stays."""

    def append_event(self, packed_id: bytes, event: UserEvent, before: User | None) -> None:
        super().append_event(packed_id, event, before)
        self.erased_history = []


class ForgetsClaims(PartitionState):
    """A restore misses the addresses held by users of other partitions."""

    def restore_claim(self, claim_id: str, claim: EmailClaim | None) -> None:
        """Forget it."""


class KeepsReleased(PartitionState):
    """A restore ignores tombstones."""

    def restore_claim(self, claim_id: str, claim: EmailClaim | None) -> None:
        if claim is not None:
            super().restore_claim(claim_id, claim)


@pytest.mark.parametrize(
    "broken",
    [
        NeverFrees,
        NeverReleases,
        GrantsWithoutReserving,
        KeepsOldAddress,
        LeaksOnAbort,
        DecidesTwice,
        TakesARefusalForTheAnswer,
        LeavesHistory,
        ForgetsClaims,
        KeepsReleased,
    ],
)
def test_the_machine_finds_what_is_broken(broken: type[Overlay] | type[PartitionState]) -> None:
    """A checker that cannot fail proves nothing."""
    is_draft = issubclass(broken, Overlay)
    names = {"overlay_class" if is_draft else "state_class": broken}
    machine = type("BrokenMachine", (RegistryMachine,), names)
    with pytest.raises(Wrong):
        run_state_machine_as_test(machine, settings=UNTIL_FOUND)


class RacingMachine(RegistryMachine):
    """Only races for addresses: a fault that needs two at once is found in seconds."""

    ask = None  # type: ignore[assignment]
    ask_again = None  # type: ignore[assignment]


def test_the_machine_finds_one_key_for_two_claims() -> None:
    """Two users who change to two addresses of one partition under one command id."""
    machine = type("BrokenMachine", (RacingMachine,), {"overlay_class": OneKeyForTwoClaims})
    with pytest.raises(Wrong):
        run_state_machine_as_test(machine, settings=UNTIL_FOUND)


def test_the_machine_finds_a_claim_granted_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two users who change to one address under one command id."""

    def to_anybody(_holder_id: str | None, _message: AddressMessage) -> bool:
        return True

    monkeypatch.setattr(address_change, "_may_reserve", to_anybody)
    with pytest.raises(Wrong):
        run_state_machine_as_test(RacingMachine, settings=UNTIL_FOUND)
