"""A handler that dies in the middle of a rebalance and returns leaves no partition to nobody."""

import time
from functools import partial

import pytest

from producers.handler.clients import Codecs
from producers.handler.metrics.meter import Meter
from producers.handler.partitions.ownership import Ownership
from producers.handler.partitions.restore import Restore
from producers.handler.start import KafkaClients
from runtime.kafka.registry import Registry
from runtime.process import StopSignal
from runtime.settings import Settings
from tests.depth import DEEP
from tests.started.processes import eventually


class Member:
    """A handler without transactions: its membership of the group and its partitions."""

    def __init__(self, settings: Settings, instance: str) -> None:
        codecs = Codecs.from_registry(Registry(settings))
        clients = KafkaClients(settings, instance)
        self.clients = clients
        open_restore = partial(Restore, settings, codecs=codecs, clients=clients)
        self._ownership = Ownership(settings, clients, open_restore, StopSignal(), Meter())

    def step(self) -> None:
        self._ownership.poll_batch(100, 1_000_000, 0.05)
        self._ownership.leave_if_unassigned()

    @property
    def owned(self) -> set[int]:
        return set(self._ownership.phases())

    def close(self) -> None:
        self._ownership.close()


def owns_all(settings: Settings, *members: Member) -> bool:
    for member in members:
        member.step()
    return set().union(*(one.owned for one in members)) == set(range(settings.partitions))


@pytest.mark.skipif(not DEEP, reason="waits for four sessions of the group: half a minute")
def test_what_a_rebalance_left_to_nobody_is_assigned_again(settings: Settings) -> None:
    dies, other = Member(settings, "b"), Member(settings, "a")
    eventually(lambda: owns_all(settings, dies), 60, "one member owns everything")

    def is_half_way() -> bool:
        """Whether the rebalance has taken partitions from the member that no longer polls."""
        other.step()
        return bool(other.clients.unassigned())

    eventually(is_half_way, 60, "partitions are assigned to nobody")
    returned = Member(settings, "b")
    missing_since = time.monotonic()
    eventually(lambda: owns_all(settings, other, returned), 120, "everything is owned again")
    assert time.monotonic() - missing_since > settings.session_timeout_seconds
    for member in (returned, other, dies):
        member.close()
