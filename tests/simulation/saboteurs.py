"""The product with one protection removed at a time: a run must notice each of them.

A checker that cannot fail proves nothing. `found_after` says how many seeds it takes; a saboteur
that is never found shows a hole in the workload. Where two protections cover each other, both are
removed.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, Message, TopicPartition

from producers.domain import address_change
from producers.domain.encoded_event import PackedEvent
from producers.domain.overlay import Overlay
from producers.domain.snapshot import packed_key
from producers.domain.state import PartitionState
from producers.handler import opening
from producers.handler.batch import Batch
from producers.handler.loop import CommandHandler
from producers.handler.partitions import partition
from producers.handler.partitions.message_order import BatchInOrder
from producers.handler.partitions.ownership import Ownership
from producers.handler.partitions.partition import Deciding, OwnedPartition
from producers.handler.partitions.restore import Restore
from producers.handler.partitions.unassigned import UnassignedPartitions
from producers.handler.transaction import ConnectionLossDetector, Transactions
from projectors.versions.visibility import LiveVersion
from schemas.records import AddressMessage, CommandOutcome, User, UserEvent
from schemas.tokens import Token
from tests.simulation.plan import plan_of
from tests.simulation.run import run
from tests.simulation.simulated.cluster import SimulatedClients
from tests.simulation.simulated.stores import UsersStore
from tests.simulation.simulated.virtual_time import Replacement
from tests.unit.producers.handler.in_memory.group import MemoryGroup
from tests.unit.producers.handler.in_memory.log import MemoryLog, MemoryProducer


def _nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def _always(*_: Any, **__: Any) -> bool:
    return True


def _never(*_: Any, **__: Any) -> bool:
    return False


# -- transactions


def _commits_offsets_at_once(
    self: MemoryProducer,
    places: list[TopicPartition],
    metadata: Any,
    _timeout: float = 0,
    /,
) -> None:
    def send() -> None:
        self._transaction()
        committed = self._log.committed[metadata.group]
        committed.update({(one.topic, one.partition): one.offset for one in places})

    self._log.carry_out("send_offsets_to_transaction", send)


def _keeps_the_epoch(self: MemoryLog, transactional_id: str) -> int:
    return self.epochs.setdefault(transactional_id, 0)


def _reads_uncommitted(self: SimulatedClients, **options: bool) -> Consumer:
    consumer: Any = _CONSUMER(self, **options)
    consumer._committed_only = False
    return consumer  # type: ignore[no-any-return]


def _decides_on(self: Ownership) -> None:
    for owned in self._partitions.values():
        if isinstance(owned.phase, Deciding):
            owned.rewind()


def _folds_first(self: CommandHandler, batch: Batch, membership: Any) -> bool:
    batch.fold()
    return bool(_COMMIT(self, batch, membership))


def _takes_anything(self: BatchInOrder, owned: OwnedPartition, message: Message) -> None:
    if isinstance(owned.phase, Deciding):
        self._taken.append((owned, message))


_CONSUMER: Callable[..., Consumer] = SimulatedClients._consumer
_COMMIT: Callable[..., bool] = CommandHandler._commit


# -- what a handler remembers


class _KeepsStates(Restore):
    """Returns to the state that the partition had when it was lost."""

    def __init__(self, settings: Any, number: int, codecs: Any, clients: Any, *ends: Any) -> None:
        super().__init__(settings, number, codecs, clients, *ends)
        self._kept: dict[int, PartitionState] = vars(clients).setdefault("kept", {})

    def step(self) -> PartitionState | None:
        state = super().step()
        return None if state is None else self._kept.setdefault(state.partition, state)


def _indexes_each_record(self: PartitionState, event: PackedEvent) -> None:
    """Free the address that the user had before this record, and take the one it has after it."""
    user_id = event[0]
    before = self.users.get(user_id)
    _RESTORE_PACKED(self, event)
    old, new = packed_key(before) if before else None, packed_key(self.users[user_id])
    if old is not None and old != new:
        self.emails.pop(old, None)
    if new is not None and self.is_home_of(new.decode()):
        self.emails[new] = user_id


def _keeps_its_index(self: PartitionState) -> None:
    emails = self.emails
    self.emails = {}
    _FINISH(self)
    self.emails = emails


def _remembers_no_ids(self: PartitionState, outcome: CommandOutcome) -> None:
    _RESTORE_OUTCOME(self, {**outcome, "command_id": "another"})


def _releases_early(overlay: Overlay, message: AddressMessage, key: str) -> None:
    claim = address_change._open_claim(overlay, message, key)
    if claim is not None:
        overlay.drop_claim(claim)


def _leaves_history(self: Overlay, packed: bytes, event: UserEvent, before: User | None) -> None:
    _APPEND(self, packed, event, before)
    self.erased_history = []


def _trusts_offsets(
    _inputs: object, _state: object, committed: Any, _recorded: object, bounds: Any
) -> dict[str, int]:
    return {topic: max(low, committed[topic]) for topic, (low, _) in bounds.items()}


_RESTORE_PACKED: Callable[..., None] = PartitionState.restore_packed
_RESTORE_OUTCOME: Callable[..., None] = PartitionState.restore_outcome
_FINISH: Callable[..., None] = PartitionState.finish_restore
_APPEND: Callable[..., None] = Overlay.append_event


def _waits_for_others(self: LiveVersion, tokens: Sequence[Token]) -> list[Token]:
    others = [Token({p: seq for p, seq in token.seqs.items() if p}) for token in tokens]
    return _SHOWN(self, others)


_SHOWN: Callable[..., list[Token]] = LiveVersion.shown


SABOTEURS: Final[dict[str, list[Replacement]]] = {
    "offsets outside the transaction": [
        (MemoryProducer, "send_offsets_to_transaction", _commits_offsets_at_once)
    ],
    "no fencing by the group": [(MemoryGroup, "refusal", _nothing)],
    "no fencing by the epoch": [(MemoryLog, "init_producer", _keeps_the_epoch)],
    "uncommitted records are read": [
        (SimulatedClients, "_consumer", _reads_uncommitted),
        (MemoryLog, "is_offset_pending", _never),
    ],
    "an unknown result is taken for an abort": [
        (Transactions, "recreate_producer", _nothing),
        (Ownership, "restore_all", _decides_on),
    ],
    "a lost connection is ignored": [(ConnectionLossDetector, "emit", _nothing)],
    "decided on a stale state": [(opening, "Restore", _KeepsStates)],
    "folded before the commit": [(CommandHandler, "_commit", _folds_first)],
    "restored up to the last stable offset": [
        (SimulatedClients, "uncommitted_reader", SimulatedClients.committed_reader),
        (MemoryLog, "is_offset_pending", _never),
    ],
    "address index rebuilt naively": [
        (PartitionState, "restore_packed", _indexes_each_record),
        (PartitionState, "finish_restore", _keeps_its_index),
    ],
    "claim released early": [(address_change, "_keep", _releases_early)],
    "grants are not sent again": [(Batch, "resend_open_grants", _nothing)],
    "claims are not restored": [(PartitionState, "restore_claim", _nothing)],
    "id window forgotten": [(PartitionState, "restore_outcome", _remembers_no_ids)],
    "ids are not remembered": [(Overlay, "answer", _nothing)],
    "positions on the log are ignored": [(partition, "first_offsets", _trusts_offsets)],
    "erased history stays": [(Overlay, "append_event", _leaves_history)],
    "stale messages are decided": [(BatchInOrder, "offer", _takes_anything)],
    "unassigned partitions stay": [(UnassignedPartitions, "must_leave", _nothing)],
    "version guard off": [(UsersStore, "_is_newer", _always)],
    "checkpoint without compare-and-set": [(UsersStore, "_check", _nothing)],
    "token that ignores a partition": [(LiveVersion, "shown", _waits_for_others)],
}


def found_after(
    sabotage: list[Replacement], most_seeds: int, first_seed: int = 0
) -> tuple[int, str] | None:
    """Return how many seeds it takes until a run finds something wrong, and what it finds.

    None if no run does.
    """
    for number in range(most_seeds):
        violations = run(plan_of(first_seed + number), sabotage).violations
        if violations:
            return number + 1, violations[0]
    return None
