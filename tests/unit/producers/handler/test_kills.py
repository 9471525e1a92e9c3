"""A handler killed before or after any request of a transaction: its successor recovers."""

from collections.abc import Iterator

import pytest

from producers.handler.loop import CommandHandler
from schemas.records import UserCommand
from schemas.topics import OUTCOMES
from tests.depth import depth
from tests.samples.given import address_in, change_email, create, delete, erase, update
from tests.unit.producers.handler.in_memory.stepping import Cluster, Killed

JANE, JOHN = address_in(0, "jane"), address_in(1, "john")
NEAR, FAR = address_in(0, "near"), address_in(2, "far")
# At most this many kill points are in the run below. `make test` tries one in `EVERY`, and
# `make test-deep` tries each.
MOST_POINTS = 110
EVERY = depth(4, 1)
COMMANDS_SENT = 10


class Handlers:
    """Two handlers that share the partitions; one that is killed is started again at once."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._running: dict[str, CommandHandler] = {n: cluster.start(n) for n in "ab"}
        self.kills = 0

    def step(self) -> int:
        """Step both; return how many messages they committed."""
        committed = 0
        for name, handler in list(self._running.items()):
            try:
                committed += handler.run_once()
            except Killed:
                self.kills += 1
                self._running[name] = self._cluster.start(name)
        return committed

    def decide_all(self) -> None:
        """Step both until they have decided all commands and address messages."""
        for _ in range(1_000):
            self.step()
            if self._cluster.is_settled():
                return
        raise AssertionError("not everything is decided")


def contested_commands(jane: str, john: str) -> Iterator[UserCommand]:
    """Yield commands in which addresses move between partitions, are contested and become free."""
    yield change_email(jane, FAR, command_id="away")
    yield change_email(john, FAR, command_id="contested")
    yield update(john, age=40, command_id="birthday")
    yield change_email(jane, NEAR, command_id="back")
    yield change_email(john, JANE, command_id="freed")
    yield delete(jane, command_id="end")
    yield erase(john, command_id="erased")
    yield create(FAR, command_id="again")


def run_with_kill(kill_at: int | None = None) -> tuple[Cluster, Handlers, int]:
    """Decide `contested_commands`, with a kill at one point; return also the number of points."""
    cluster = Cluster(batch_commands=2)
    handlers = Handlers(cluster)
    cluster.send(create(JANE, command_id="jane"), create(JOHN, command_id="john"))
    handlers.decide_all()
    ids = {one["command_id"]: one["user_id"] for _, one in cluster.read(OUTCOMES)}
    points = 0

    def kill_if_due() -> None:
        nonlocal points
        points += 1
        if points == kill_at:
            raise Killed

    cluster.log.at_each_request = kill_if_due
    cluster.send(*contested_commands(ids["jane"], ids["john"]))
    handlers.decide_all()
    return cluster, handlers, points


@pytest.mark.parametrize("point", range(1, MOST_POINTS, EVERY))
def test_a_kill_between_any_two_requests_loses_no_answer_and_no_address(point: int) -> None:
    cluster, handlers, points = run_with_kill(point)
    assert handlers.kills == (point <= points)
    outcomes = cluster.read(OUTCOMES)
    assert len(outcomes) == len({one["command_id"] for _, one in outcomes}) == COMMANDS_SENT
    cluster.assert_log_is_valid()
    # Every address that became free can be registered: none stays reserved.
    freed = {f"next-{email}" for email in (JANE, JOHN, NEAR)}
    cluster.send(*(create(one.removeprefix("next-"), command_id=one) for one in freed))
    handlers.decide_all()
    assert freed <= {one["command_id"] for _, one in cluster.read(OUTCOMES) if not one["code"]}


def test_the_kill_points_cover_the_whole_run() -> None:
    """Otherwise no kill would interrupt its last transactions."""
    _, _, points = run_with_kill()
    assert MOST_POINTS * 0.7 < points <= MOST_POINTS
