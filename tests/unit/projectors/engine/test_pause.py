"""The projector's loop while its version is paused: it applies nothing and stays in its group."""

from collections.abc import Callable

import pytest

from schemas.errors import Unavailable
from tests.unit.projectors.engine.stepping import (
    USERS,
    Member,
    World,
    expected,
    stored,
    until_caught_up,
)


@pytest.fixture
def world() -> World:
    return World()


def paused_for(looks: int, then: Callable[[], None] = lambda: None) -> Callable[[], bool]:
    """Return an `is_paused` that is true for so many looks; the last one does `then`."""
    left = iter(range(looks, 0, -1))

    def is_paused() -> bool:
        look = next(left, 0)
        if look == 1:
            then()
        return look > 0

    return is_paused


def step_through_pause(member: Member, looks: int, then: Callable[[], None]) -> None:
    """Take the step that lasts as long as the pause."""
    member.is_paused = paused_for(looks, then)
    member.step()


def test_nothing_is_applied_until_it_is_resumed(world: World) -> None:
    """Neither what was fetched before the pause nor what is written during it."""
    world.users(0, USERS)
    member = world.member()
    member.step()  # takes the first records in hand
    before = dict(world.model.users)
    world.users(USERS, 5)
    seen: list[dict[str, int]] = []
    step_through_pause(member, 5, lambda: seen.append(dict(world.model.users)))
    assert seen == [before]
    assert member.consumer.memberid()
    until_caught_up(world, member)
    assert stored(world) == expected(0, USERS + 5)
    assert len(world.model.writes) == len({id(one) for one in world.model.writes})


def test_partitions_that_are_assigned_during_a_pause_wait_for_its_end(world: World) -> None:
    """As in a process that was started during the pause."""
    world.users(0, USERS)
    member = world.member()
    seen: list[dict[str, int]] = []
    step_through_pause(member, 8, lambda: seen.append(dict(world.model.users)))
    assert seen == [{}]
    until_caught_up(world, member)
    assert stored(world) == expected(0, USERS)


def test_a_batch_that_is_being_retried_is_given_up(world: World) -> None:
    """It would be written as soon as the store answers, although the version is paused."""
    world.users(0, USERS)
    member = world.member()
    errors = iter([Unavailable("down")])

    def fail_and_pause() -> None:
        for error in errors:
            member.is_paused = lambda: True
            raise error

    world.model.before_write = fail_and_pause
    member.step(3)
    assert world.model.writes == []
    member.is_paused = lambda: False
    until_caught_up(world, member)
    assert stored(world) == expected(0, USERS)


def test_a_stop_ends_a_pause(world: World) -> None:
    member = world.member()

    def stop_at_the_third_look() -> bool:
        looks.append(1)
        if len(looks) == 3:
            member.stopping.set()
        return True

    looks: list[int] = []
    member.is_paused = stop_at_the_third_look
    member.step()
    assert len(looks) >= 3
