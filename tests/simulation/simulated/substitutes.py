"""What stands for time, chance and threads in the code under test while a run lasts."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from producers.domain.overlay import Overlay
from producers.handler import batch, loop, transaction
from producers.handler.partitions import (
    ownership,
    partition,
    positions,
    restore,
    unassigned,
)
from producers.handler.partitions.ownership import Ownership
from projectors.engine import catch_up, runner, subscription
from runtime import process
from tests.simulation.simulated import processes
from tests.simulation.simulated.processes import AtOnce, call_with_deadline
from tests.simulation.simulated.virtual_time import BrokerTime, Replacement, VirtualTime, replaced
from tests.unit.producers.handler.in_memory import partition as memory_partition

_HANDLER = (loop, transaction, ownership, partition, positions, restore, unassigned)
_PROJECTOR = (subscription, runner, catch_up)


def with_revocation_point() -> Replacement:
    """Return what makes a handler tell of the moment in which it loses partitions."""

    class PointedOwnership(Ownership):
        """Tells when partitions are revoked."""

        def _on_revoke(self, consumer: Any, partitions: list[Any]) -> None:
            consumer._log.point("revoke")
            super()._on_revoke(consumer, partitions)

    return processes, "Ownership", PointedOwnership


@contextmanager
def in_virtual_time(sabotage: Sequence[Replacement] = ()) -> Iterator[VirtualTime]:
    """Replace time, chance and threads of the code under test, and whatever `sabotage` says."""
    time, random_bits = VirtualTime(), iter(range(1, 1 << 62)).__next__
    replacements: list[Replacement] = [
        (module, "time", time) for module in (*_HANDLER, *_PROJECTOR, process)
    ]
    replacements += [
        (memory_partition, "time", BrokerTime(time)),
        (transaction, "call_with_deadline", partial(call_with_deadline, time)),
        (batch, "Overlay", partial(Overlay, random_bits=random_bits)),
        (runner, "ThreadPoolExecutor", AtOnce),
        with_revocation_point(),
        *sabotage,
    ]
    with replaced(replacements):
        logging.disable(logging.CRITICAL)
        try:
            yield time
        finally:
            logging.disable(logging.NOTSET)
