"""Random schedules of steps and faults: whatever their order, each command is decided once."""

import random

import pytest
from confluent_kafka import KafkaError

from producers.handler.loop import CommandHandler
from schemas.errors import Fenced
from schemas.topics import OUTCOMES
from tests.depth import depth
from tests.samples.given import PARTITIONS, address_in, change_email, create, delete, update
from tests.unit.producers.handler.in_memory.log import failure
from tests.unit.producers.handler.in_memory.stepping import Cluster, Killed

SCHEDULES = depth(25, 3_000)
STEPS = 60
MOST_STEPS_TO_SETTLE = 2_000
REQUESTS = ("send_offsets_to_transaction", "commit_transaction", "abort_transaction")


class Schedule:
    """Two handlers, users who compete for a few addresses, and random faults."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        # A transaction that the broker has timed out is then not taken for another process.
        timeout_seconds = self.chance.choice((1e-9, 10.0))
        self.cluster = Cluster(
            batch_commands=self.chance.choice((1, 3, 100)),
            transaction_timeout_seconds=timeout_seconds,
        )
        self._recommit_seconds = self.chance.choice((0.0, 60.0))
        self.handlers: dict[str, CommandHandler] = {n: self._start(n) for n in "ab"}
        self.sent = 0
        self._emails = [address_in(n % PARTITIONS, f"pool{n}x") for n in range(10)]

    def run(self) -> None:
        """Do random things, then let the handlers decide what is left."""
        actions = [self.step] * 6 + [self.send, self.send, self.break_something]
        for _ in range(STEPS):
            self.chance.choice(actions)()
        self._recommit_seconds = 0.0
        for _ in range(MOST_STEPS_TO_SETTLE):
            self.step()
            if self.cluster.is_settled() and self.cluster.lag() == 0:
                return
        raise AssertionError("not everything is decided")

    def _start(self, name: str) -> CommandHandler:
        handler = self.cluster.start(name)
        handler.recommit_seconds = self._recommit_seconds
        return handler

    def step(self) -> None:
        """Step one handler; one that ends is started again, as its supervisor would."""
        name = self.chance.choice("ab")
        self.handlers[name].recommit_seconds = self._recommit_seconds
        try:
            self.handlers[name].run_once()
        except (Fenced, Killed):
            self.handlers[name] = self._start(name)

    def send(self) -> None:
        """Ask for something about a user who may exist."""
        email = self.chance.choice(self._emails)
        command_id = f"c{self.sent}"
        ids = sorted({one["user_id"] for _, one in self.cluster.read(OUTCOMES) if one["user_id"]})
        kind = self.chance.random()
        if not ids or kind < 0.3:
            self.cluster.send(create(email, command_id=command_id))
        elif kind < 0.8:
            user_id = self.chance.choice(ids)
            self.cluster.send(change_email(user_id, email, command_id=command_id))
        elif kind < 0.9:
            self.cluster.send(update(self.chance.choice(ids), age=30, command_id=command_id))
        else:
            self.cluster.send(delete(self.chance.choice(ids), command_id=command_id))
        self.sent += 1

    def break_something(self) -> None:
        """Make a request fail, lose its answer, or kill the process that sends it."""
        log, request = self.cluster.log, self.chance.choice(REQUESTS)
        before, after = (self.kill, self.lose, self.refuse), (self.kill, self.lose)
        if self.chance.random() < 0.5:
            log.before(request, self.chance.choice(before))
        else:
            log.after(request, self.chance.choice(after))
        more = (self.expire, self.time_out, self.lose_offsets, lambda: None, lambda: None)
        self.chance.choice(more)()

    def kill(self) -> None:
        raise Killed

    def lose(self) -> None:
        raise failure(KafkaError._TIMED_OUT)

    def refuse(self) -> None:
        """Refuse a request for good: the client must abort."""
        raise failure(KafkaError._TIMED_OUT, abortable=True)

    def expire(self) -> None:
        """End the session of a member that may be alive."""
        members = sorted(self.cluster.group.members)
        if members:
            self.cluster.group.expire(self.chance.choice(members))

    def lose_offsets(self) -> None:
        """Expire some of the group's offsets, as a broker may in idle weeks."""
        committed = self.cluster.log.committed[self.cluster.group.name]
        for place in sorted(committed):
            if self.chance.random() < 0.5:
                del committed[place]

    def time_out(self) -> None:
        """End a transaction whose process may be alive."""
        self.cluster.log.time_out(self.chance.choice("ab"))


@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_each_command_is_decided_once(seed: int) -> None:
    schedule = Schedule(seed)
    schedule.run()
    outcomes = schedule.cluster.read(OUTCOMES)
    assert sorted(one["command_id"] for _, one in outcomes) == sorted(
        f"c{number}" for number in range(schedule.sent)
    )
    schedule.cluster.assert_log_is_valid()
