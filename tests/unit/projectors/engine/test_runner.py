"""The projector's loop, stepped over an in-memory log: rebalance, outage, poison, fencing, loss."""

from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from projectors.contract.read_model import Advance, Batch, Dropped, Position
from projectors.engine.applier import TooManyPoisoned
from projectors.engine.log_identity import LOST_LOG, OTHER_TOPIC
from projectors.promises.events import user_event
from schemas.errors import Fenced, Misconfigured
from tests.unit.projectors.engine.stepping import (
    PARTITIONS,
    STEPS_PER_CHECK,
    USERS,
    World,
    expected,
    stored,
    until_caught_up,
)


@pytest.fixture
def world() -> World:
    return World()


def test_all_events_are_applied_and_the_group_commits_where_it_is(world: World) -> None:
    world.users(0, USERS)
    member = world.member()
    until_caught_up(world, member)
    world.users(0, USERS, version=2)
    until_caught_up(world, member)
    member.step(3)
    assert stored(world) == expected(0, USERS, 2)
    member.subscription.close()
    ends = {place: log.end for place, log in world.log.partitions.items()}
    assert world.log.committed["projector"] == ends


def test_lost_offsets_change_nothing_and_are_committed_again(world: World) -> None:
    """The checkpoint is stored with the data; only lag tools read the group's offsets."""
    world.users(0, USERS)
    member = world.member()
    until_caught_up(world, member)
    member.step(3)
    world.log.committed.clear()
    member.subscription._recommit_due = 0.0
    member.step(2)
    ends = {place: log.end for place, log in world.log.partitions.items()}
    assert world.log.committed["projector"] == ends
    successor = world.member("two")
    world.log.committed.clear()
    member.subscription.close()
    world.group.expire("one")
    world.users(0, USERS, version=2)
    until_caught_up(world, successor)
    assert stored(world) == expected(0, USERS, 2)


def test_a_partition_that_moves_continues_at_the_checkpoint(world: World) -> None:
    """Each event is applied by the old owner or the new one; neither is fenced."""
    world.users(0, USERS)
    one = world.member("one")
    one.step(2)
    other = world.member("two")
    world.users(USERS, USERS)
    for _ in range(6):
        one.step()
        other.step()
    assert {len(m.subscription.next) for m in (one, other)} == {2}
    assert one.subscription.next.keys().isdisjoint(other.subscription.next)
    world.users(2 * USERS, USERS)
    until_caught_up(world, one, other)
    assert stored(world) == expected(0, 3 * USERS)


def test_records_polled_before_a_rebalance_are_not_applied_after_it(world: World) -> None:
    """Not even those that were already being decoded."""
    world.users(0, USERS)
    one = world.member("one")
    one.step(2)
    polled = one.runner._in_hand
    assert polled is not None
    other = world.member("two")
    before = dict(world.model.positions)
    while one.subscription.restarts < 2:
        other.step()
        one.step()
    applied = {p for p in range(PARTITIONS) if world.model.positions.get(p) != before.get(p)}
    assert applied <= other.subscription.next.keys() | one.subscription.next.keys()
    until_caught_up(world, one, other)
    assert stored(world) == expected(0, USERS)


def test_a_member_that_dies_is_replaced_by_another(world: World) -> None:
    world.users(0, USERS)
    one, other = world.member("one"), world.member("two")
    for _ in range(4):
        one.step()
        other.step()
    world.users(USERS, USERS)
    world.group.expire("one")
    until_caught_up(world, other)
    assert stored(world) == expected(0, 2 * USERS)


def test_a_zombie_changes_nothing_and_stops(world: World) -> None:
    """It was expired while paused, and another member has moved the checkpoint since."""
    world.users(0, USERS)
    zombie, other = world.member("zombie"), world.member("other")
    for _ in range(4):
        zombie.step()
        other.step()
    world.users(0, USERS, version=2)
    zombie.step()  # polls a batch, then pauses
    world.group.expire("zombie")
    until_caught_up(world, other)
    before = dict(world.model.positions)
    batch = zombie.runner._in_hand
    assert batch is not None
    with pytest.raises(Fenced):
        zombie.runner._applier.apply(batch.records.result())
    assert world.model.positions == before
    zombie.step(3)  # learns that it lost its partitions, and joins again
    until_caught_up(world, zombie, other)
    assert stored(world) == expected(0, USERS, 2)


def test_another_process_that_is_ahead_in_our_partition_stops_this_one(world: World) -> None:
    """As if two groups wrote to one version."""
    world.users(0, USERS)
    member = world.member()
    until_caught_up(world, member)
    partition, position = next(iter(world.model.positions.items()))
    ahead = Position(position.topic_id, position.next_offset + 10, position.last_seq + 10)
    world.model.write(Batch([], {partition: Advance(position, ahead)}))
    with pytest.raises(Fenced):
        member.step(2 * STEPS_PER_CHECK)


def test_poisoned_records_become_dead_letters_and_the_rest_is_applied(world: World) -> None:
    world.users(0, 10)
    world.append(b"no Avro", user_event(3)["user_id"])
    world.users(10, 1, name="Poison")  # the read model refuses it
    world.users(20, 10)
    member = world.member()
    until_caught_up(world, member)
    assert len(world.letters) == len(set(world.letters)) == 2
    assert stored(world) == expected(0, 10) | expected(20, 10)


def test_a_poisoned_record_at_the_end_is_passed_when_the_log_is_idle(world: World) -> None:
    world.users(0, 1)
    world.append(b"no Avro", user_event(0)["user_id"])
    member = world.member()
    member.step(3)
    assert world.letters == []
    until_caught_up(world, member)
    assert len(world.letters) == 1


def test_too_many_poisoned_records_stop_the_projector_before_the_first(world: World) -> None:
    world.users(0, 1)
    for _ in range(4):
        world.append(b"no Avro", user_event(0)["user_id"])
    with pytest.raises(TooManyPoisoned):
        until_caught_up(world, world.member("one"))
    assert world.letters == []
    assert stored(world) == expected(0, 1)
    world.group.expire("one")
    world.settings = replace(world.settings, dead_letters_in_a_row=4)
    until_caught_up(world, world.member("two"))
    assert len(world.letters) == 4


def test_a_failed_fetch_restarts_every_partition_at_its_checkpoint(world: World) -> None:
    world.users(0, USERS)
    member = world.member()
    member.step(2)
    failed = KafkaException(KafkaError(KafkaError._BAD_MSG, "a CRC does not match"))
    polls = iter([failed])
    poll = member.consumer.poll

    def fail_once(timeout: float = 0, /) -> Any:
        for error in polls:
            raise error
        return poll(timeout)

    member.consumer.poll = fail_once  # type: ignore[method-assign]
    until_caught_up(world, member)
    assert member.subscription.restarts == 2  # by the error, and by the loop that noticed
    assert stored(world) == expected(0, USERS)


def test_stale_records_from_before_a_seek_are_dropped(world: World) -> None:
    """As librdkafka may return them: they would move the checkpoint back."""
    world.users(0, USERS)
    member = world.member()
    until_caught_up(world, member)
    for place, log in world.log.partitions.items():
        if log.end:
            member.consumer.queued.append(member.consumer.message(place, 0))
    member.step(3)
    assert world.is_caught_up()


@pytest.mark.parametrize("code", [OTHER_TOPIC, LOST_LOG])
def test_a_log_that_the_model_was_not_built_from_is_refused(world: World, code: str) -> None:
    world.users(0, USERS)
    until_caught_up(world, world.member("first"))
    world.group.expire("first")
    if code == OTHER_TOPIC:
        world.topic_id = "re-created"
    else:
        for place, log in world.log.partitions.items():
            world.users(0, USERS, version=2)
            world.log.delete_before(*place, log.end)
    with pytest.raises(Misconfigured) as refused:
        world.member("second").step(3)
    assert refused.value.code == code


def test_a_dropped_version_ends_the_loop(world: World) -> None:
    member = world.member()

    def drop() -> dict[int, Position]:
        raise Dropped("it was dropped")

    world.model.checkpoint = drop  # type: ignore[method-assign]
    member.runner.run()
    world.group.expire("one")
    with pytest.raises(Dropped):
        world.member("other").runner.run_until_caught_up(PARTITIONS, lambda: None)


def test_run_until_caught_up_ends_at_the_end_that_the_log_had(world: World) -> None:
    world.users(0, USERS)
    steps: list[float] = []
    member = world.member()
    member.runner.run_until_caught_up(
        PARTITIONS, lambda: steps.append(member.runner.catch_up.fraction)
    )
    assert stored(world) == expected(0, USERS)
    assert steps[0] == 0
    assert world.is_caught_up()
