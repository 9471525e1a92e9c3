"""What a projector records while it applies events, on the log in memory."""

import math
from typing import Any

from projectors.engine.meter import RecordingMeter
from projectors.log.end import LogEnd
from runtime.metrics.health import START, Health
from runtime.metrics.recording import Values
from schemas.errors import Unavailable
from tests.unit.projectors.engine.stepping import PARTITIONS, USERS, World, until_caught_up

LABELS = ("memory", "1")


class Tails:
    """The ends of the log in memory; the oldest event that is not applied is from 1970."""

    def __init__(self, world: World) -> None:
        self._world = world

    def ends(self, _client: object, partitions: frozenset[int]) -> dict[int, LogEnd]:
        _, ranges = self._world.look_up(partitions)
        seqs = {p: sum(one.value is not None for one in self._log(p)) for p in ranges}
        return {p: LogEnd(found.low, found.end, seqs[p]) for p, found in ranges.items()}

    def _log(self, partition: int) -> list[Any]:
        return self._world.log.partitions[self._world.topic, partition].entries

    def oldest_ms(self, _starts: object) -> int:
        return 0


class Metered:
    """A projector process that records, and its values."""

    def __init__(self, world: World) -> None:
        self.values = Values()
        self.health = Health(self.values)
        self.health.works(START)
        tails: Any = Tails(world)
        self.meter = RecordingMeter(self.health, self.values, tails, *LABELS)  # type: ignore[arg-type]
        self.member = world.member()
        self.member.runner._meter = self.meter

    def number(self, name: str, *labels: str) -> float:
        return self.values.numbers(name).get((*LABELS, *labels), math.nan)

    def state(self) -> str:
        states = self.values.numbers("projector_state")
        [state] = [labels[-1] for labels, value in states.items() if value]
        return state

    def step(self) -> None:
        self.meter._next_step = 0.0
        self.member.step()


def test_batches_are_counted_and_timed_by_stage() -> None:
    world = World()
    world.users(0, USERS)
    metered = Metered(world)
    assert metered.state() == "starting"
    until_caught_up(world, metered.member)
    metered.step()
    assert metered.number("projector_events_applied_total") == USERS
    assert metered.number("projector_partitions") == PARTITIONS
    assert metered.number("projector_newest_event_timestamp_seconds") > 0
    assert metered.state() == "caught_up"
    stages = {labels[-1] for labels, _, _ in metered.values.histograms("projector_batch_seconds")}
    assert stages == {"read", "decode", "write"}


def test_a_projector_whose_store_is_down_waits_and_is_not_ready() -> None:
    world = World()
    metered = Metered(world)
    until_caught_up(world, metered.member)
    world.users(0, USERS)
    seen: list[tuple[str, float]] = []

    def before_write() -> None:
        seen.append((metered.state(), metered.number("process_ready")))
        if len(seen) < 3:
            raise Unavailable("the store is down")

    world.model.before_write = before_write
    while len(seen) < 3:
        metered.step()
    assert seen[1][0] == "waiting"
    assert metered.health.missing == {}
    metered.step()
    assert metered.state() == "caught_up"


def test_lag_counts_from_the_position_and_is_unknown_without_one() -> None:
    world = World()
    metered = Metered(world)
    client: Any = None
    metered.meter.measure(client)
    assert math.isnan(metered.number("projector_lag_events"))
    until_caught_up(world, metered.member)
    metered.step()
    metered.meter.measure(client)
    assert metered.number("projector_lag_events") == 0
    assert metered.number("projector_lag_seconds") == 0
    world.users(0, USERS)  # it is stalled: it takes no step
    metered.meter.measure(client)
    assert metered.number("projector_lag_events") == USERS
    assert metered.number("projector_lag_seconds") > 1e9
    metered.meter.forget()
    assert math.isnan(metered.number("projector_lag_seconds"))


def test_a_version_that_was_dropped_leaves_no_series() -> None:
    metered = Metered(World())
    metered.meter.is_live(True)
    metered.step()
    metered.meter.close()
    for name in ("projector_live", "projector_state", "projector_partitions"):
        assert metered.values.numbers(name) == {}, name
