"""The projector's loop while its store is unavailable, and after the store lost writes."""

import pytest

from projectors.contract.read_model import Position
from projectors.promises.events import user_event
from schemas.errors import Unavailable
from schemas.identity import partition_of, user_shard
from tests.unit.projectors.engine.stepping import (
    PARTITIONS,
    STEPS_PER_CHECK,
    USERS,
    World,
    expected,
    stored,
    until_caught_up,
)
from tests.unit.projectors.engine.test_applier import Memory


@pytest.fixture
def world() -> World:
    return World()


def test_a_store_that_lost_writes_is_replayed(world: World) -> None:
    """A crash took its last batches, rows and checkpoint together."""
    world.users(0, USERS)
    member = world.member()
    until_caught_up(world, member)
    users, positions = dict(world.model.users), dict(world.model.positions)
    world.users(0, USERS, version=2)
    until_caught_up(world, member)
    world.model.users, world.model.positions = users, positions
    until_caught_up(world, member)
    assert stored(world) == expected(0, USERS, 2)


def test_a_store_that_lost_writes_is_noticed_in_partitions_that_are_idle(world: World) -> None:
    """While another one is written to all the time."""
    world.users(0, USERS)
    member = world.member()
    until_caught_up(world, member)
    busy = partition_of(user_shard(user_event(0)["user_id"]), PARTITIONS)
    lost = {p: at for p, at in world.model.positions.items() if p == busy}
    world.model.positions = lost
    world.model.users.clear()
    for version in range(2, 2 + 3 * STEPS_PER_CHECK):
        world.users(0, 1, version=version)
        member.step()
    assert stored(world).keys() >= {
        user_id
        for user_id in expected(0, USERS)
        if partition_of(user_shard(user_id), PARTITIONS) != busy
    }


def test_records_of_a_partition_that_has_not_started_are_not_kept(world: World) -> None:
    """It was assigned while the store was unavailable, and the log has many records."""
    member = world.member()

    def fail() -> dict[int, Position]:
        raise Unavailable("down")

    world.model.checkpoint = fail  # type: ignore[method-assign]
    world.users(0, USERS)
    for _ in range(5):
        member.subscription.poll(1, 0)
        with pytest.raises(Unavailable):
            member.runner._start_waiting()
        member.subscription.pause_in_group(0.01, lambda: False)
    assert member.subscription.waiting == set(range(PARTITIONS))
    assert member.subscription._early == []
    assert all(at == 0 for at in member.consumer._positions.values())
    del world.model.checkpoint
    until_caught_up(world, member)


def test_more_early_records_than_the_limit_restart_the_partitions(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projectors.engine.subscription.MOST_EARLY", 3)
    world.users(0, USERS)
    member = world.member()
    member.step(2)
    world.users(USERS, 5)
    polled = [member.consumer.poll() for _ in range(2 * USERS)]
    fetched = [message for message in polled if message is not None and not message.error()]
    assert len(fetched) == 5
    member.consumer.queued.extend(fetched)
    member.subscription.pause_in_group(0.01, lambda: False)
    assert len(member.subscription._early) <= 3
    assert member.subscription.restarts == 1
    until_caught_up(world, member)
    assert stored(world) == expected(0, USERS + 5)


def test_while_the_store_is_unavailable_it_stays_in_the_group_and_loses_nothing(
    world: World,
) -> None:
    """Not even a record that was fetched before the pause and arrives during it."""
    world.users(0, USERS)
    member = world.member()
    errors = iter([Unavailable("down")] * 5)

    def fail() -> None:
        for error in errors:
            world.users(USERS, 1)
            fetched = member.consumer.poll()
            if fetched is not None:
                member.consumer.queued.append(fetched)
            raise error

    world.model.before_write = fail
    until_caught_up(world, member)
    assert member.subscription.restarts == 0
    assert stored(world) == expected(0, USERS + 1)


def test_partitions_revoked_while_the_store_is_unavailable_are_given_up(world: World) -> None:
    """The batch in hand is dropped, not retried."""
    world.users(0, USERS)
    one = world.member("one")
    model = Memory()
    model.users, model.positions = world.model.users, world.model.positions
    other = world.member("other", model)
    one.step(2)

    def fail() -> None:
        if one.subscription.restarts == 0:
            other.consumer.poll()
            raise Unavailable("down")

    world.users(0, USERS, version=2)
    world.model.before_write = fail
    batches = len(world.model.writes)
    one.step()
    while one.subscription.restarts == 0:
        one.step()
    assert len(world.model.writes) == batches
    until_caught_up(world, one, other)
    assert stored(world) == expected(0, USERS, 2)


def test_a_stop_ends_a_wait_for_the_store(world: World) -> None:
    world.users(0, USERS)
    member = world.member()

    def fail() -> None:
        member.stopping.set()
        raise Unavailable("down")

    world.model.before_write = fail
    member.runner.run()
    assert stored(world) == {}
