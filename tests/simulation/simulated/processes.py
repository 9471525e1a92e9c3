"""The processes of a run: handlers and projectors, started again by a supervisor whenever they end.

All of their code is the product's. A process runs while it is stepped and otherwise stands still;
one that was frozen in the middle of a step goes on once the others have been stepped for a while.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from itertools import count
from typing import Any, Protocol, cast

from confluent_kafka import Consumer, Message

from producers.handler.batch import Batch
from producers.handler.clients import Codecs
from producers.handler.loop import CommandHandler
from producers.handler.metrics.meter import Meter
from producers.handler.open_segments import SegmentRoller
from producers.handler.opening import RestoreOpener
from producers.handler.partitions.ownership import Ownership
from producers.handler.transaction import IndefiniteError, Transactions
from producers.handler.watchdog import Watchdog
from projectors.contract.read_model import ReadModel
from projectors.engine.runner import Runner
from projectors.engine.subscription import Subscription
from runtime.process import Backoff, StopSignal
from runtime.settings import Settings
from runtime.topics.log_ranges import LogRange
from tests.samples.codecs import codec
from tests.simulation.simulated.cluster import (
    SimulatedClients,
    SimulatedConsumer,
    SimulatedGroup,
    SimulatedLog,
)
from tests.simulation.simulated.stores import UsersStore
from tests.simulation.simulated.virtual_time import VirtualTime

_WATCHDOG = Watchdog(3_600)
CODECS = Codecs.of(codec)


class Steps(Protocol):
    """What a process does: one step after the other."""

    def run_once(self) -> object:
        """Take one step."""


class Process:
    """One process and its supervisor; `running` is None while it is down."""

    def __init__(self, name: str, start: Callable[[], Steps]) -> None:
        self.name = name
        self.start = start
        self.running: Steps | None = None
        self.is_busy = False
        self.skew_ms = 0
        self.down_until_ms = 0


class NeverWaits(StopSignal):
    """A stop signal whose pauses only let time pass."""

    def __init__(self, time: VirtualTime) -> None:
        super().__init__()
        self._time = time

    def wait(self, seconds: float) -> bool:
        # Short pauses have a random part.
        self._time.sleep(0.1 if seconds < 5 else seconds)
        return bool(self)


class PointedBatch(Batch):
    """A batch that tells of its steps."""

    def __init__(
        self, *batch: Any, point: Callable[[str], str | None], tallies: bool = False
    ) -> None:
        super().__init__(*batch, tallies=tallies)
        self._point = point
        point("consumed")

    def decide(self, message: Message) -> None:
        self._point("decide")
        super().decide(message)

    def fold(self) -> None:
        self._point("fold")
        super().fold()
        self._point("folded")


def start_handler(
    settings: Settings,
    group: SimulatedGroup,
    identity: str,
    fetch_records: int,
    recommit_seconds: float,
) -> CommandHandler:
    """Start a handler; it fences every earlier one of its identity."""
    log = cast("SimulatedLog", group.log)
    clients = SimulatedClients(group, identity, fetch_records)
    stop, meter = NeverWaits(log.time), Meter()
    transactions = Transactions(settings, clients, _WATCHDOG, stop)
    open_restore = RestoreOpener(settings, CODECS, clients, transactions)
    handler = CommandHandler(
        settings,
        CODECS,
        ownership=Ownership(settings, clients, open_restore, stop, meter),
        transactions=transactions,
        roller=SegmentRoller({}),
        check_topics=lambda: None,
        meter=meter,
        explain=clients.failure,
        stop=stop,
        new_batch=partial(PointedBatch, point=log.point),
    )
    handler.recommit_seconds = recommit_seconds
    return handler


_MEMBERS = count()


def start_projector(
    settings: Settings, group: SimulatedGroup, store: UsersStore, fetch_records: int
) -> Runner:
    """Start a projector process of a store; its earlier runs leave the group by their sessions."""
    log, source = cast("SimulatedLog", group.log), store.source
    consumer = SimulatedConsumer(group, f"{group.name}-{next(_MEMBERS)}", reports_ends=True)
    consumer.fetch_records = fetch_records

    def look_up(partitions: Any) -> tuple[str, Mapping[int, LogRange]]:
        found = {number: log.partitions[source.topic.name, number] for number in partitions}
        return "topic", {n: LogRange(one.low, one.stable_end) for n, one in found.items()}

    subscription = Subscription(
        settings, source.topic, cast("Consumer", consumer), cast("Any", look_up)
    )
    runner = Runner(
        settings,
        cast("ReadModel", store),
        subscription,
        decode=codec(source.topic.schema).decode,
        write_letters=lambda _records: None,
        stopping=NeverWaits(log.time),
        new_backoff=lambda: Backoff(0.1, 0.1),
        clock=log.time.monotonic,
    )
    subscription.join()
    return runner


class AtOnce:
    """Stands for an executor of one thread: what is submitted is done before `submit` returns."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take what an executor takes."""

    def submit(self, call: Callable[[], Any]) -> "Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(call())
        except Exception as error:  # noqa: BLE001 - it is for who asks for the result
            done.set_exception(error)
        return done

    def shutdown(self, **_: Any) -> None:
        """Do nothing: nothing is left to do."""


def call_with_deadline(time: VirtualTime, seconds: float, call: Callable[[], None]) -> None:
    """Do what the product's function of this name does, without a thread."""
    began = time.monotonic()
    call()
    if time.monotonic() - began > seconds:
        raise IndefiniteError
