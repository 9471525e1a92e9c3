"""A registry whose committed offsets the broker has dropped continues exactly where it was.

The quick test deletes the groups, which has the effect of an outage of a week. The deep one waits
for a broker that keeps offsets for a minute.
"""

import json
import os
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from producers.client.command_client import CommandClient
from producers.handler.members import GROUP
from projectors.engine.subscription import group_of
from runtime.kafka.clients import admin
from runtime.settings import Settings
from runtime.topics.log_ranges import log_ranges
from schemas.topics import COMMANDS, HOPS
from scripts.stack.native import server_files
from scripts.stack.native.local import LocalStack
from tests.conftest import SHARED_STACK, start_stack
from tests.depth import DEEP
from tests.observed.catch_up import wait_caught_up
from tests.observed.groups import delete_group
from tests.samples.given import address_in
from tests.started.processes import Rollbook, eventually

FAR = address_in(1, "far")
NOT_RUN = ("elasticsearch", "history")
KEEP_A_MINUTE = {
    "offsets.retention.minutes": 1,
    "offsets.retention.check.interval.ms": 1_000,
}


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    """The shared stack; for deep tests one whose broker keeps offsets for a minute."""
    if not DEEP:
        yield start_stack(os.environ[SHARED_STACK])
        return
    name = f"tests-{os.getpid()}-idle"
    with pytest.MonkeyPatch.context() as patch:
        for option, value in KEEP_A_MINUTE.items():
            patch.setitem(server_files.KAFKA_OPTIONS, option, value)
        try:
            yield start_stack(name)
        finally:
            LocalStack(name).down(wipe=True)


def leave_and_come_back(settings: Settings) -> None:
    """Have a user take an address of another partition, leave it and take it again."""
    with CommandClient(settings) as client:
        made = client.create_user(address_in(0, "home"), "Jane", 33)
        assert made.user_id
        for email in (FAR, address_in(0, "home"), FAR):
            assert client.change_email(made.user_id, email).status == "accepted"


def assert_far_is_taken(settings: Settings, rollbook: Rollbook) -> None:
    """Nothing was applied or decided again."""
    with CommandClient(settings) as client:
        assert client.create_user(FAR, "John", 34).code == "user_already_exists"
        assert client.create_user(address_in(2, "new"), "John", 34).status == "accepted"
    wait_caught_up(settings, "postgres")
    lines = rollbook.run("verify", "--timeout", "0", "--json").stdout.splitlines()
    broken = {check["check"] for check in map(json.loads, lines) if not check["holds"]}
    # Nothing runs these.
    assert broken == {f"{one}: has applied the log to its end" for one in NOT_RUN}


def offsets(settings: Settings) -> dict[tuple[str, int], int]:
    """Return the offsets of the handlers' group, negative where it has none."""
    places = [
        TopicPartition(settings.named(topic.name), number)
        for topic in (COMMANDS, HOPS)
        for number in range(settings.partitions)
    ]
    group = settings.named(GROUP)
    client = admin(settings)
    request = ConsumerGroupTopicPartitions(group, places)
    found = client.list_consumer_group_offsets([request])[group].result()
    return {(one.topic, one.partition): one.offset for one in found.topic_partitions}


def lag(settings: Settings) -> int:
    """Return how far the handlers' group is behind the address messages, as lag tools show it."""
    ends = log_ranges(settings, HOPS, range(settings.partitions))
    committed = offsets(settings)
    return sum(one.end - committed[settings.named(HOPS.name), n] for n, one in ends.items())


def test_lost_offsets_are_recovered(settings: Settings, rollbook: Rollbook) -> None:
    """Of handlers and projectors, as after an outage of more than a week."""
    rollbook.overrides["ROLLBOOK_SESSION_TIMEOUT_SECONDS"] = "1"
    processes = [rollbook.start_handler(), rollbook.start_projector("postgres")]
    leave_and_come_back(settings)
    wait_caught_up(settings, "postgres")
    for process in processes:
        process.kill()
    for group in (GROUP, group_of("postgres", 1)):
        if not DEEP:
            delete_group(settings, group)
    eventually(lambda: max(offsets(settings).values()) < 0, 180, "all offsets are gone")
    successor = rollbook.start_handler()
    rollbook.start_projector("postgres")
    successor.wait_for("recovered")
    assert_far_is_taken(settings, rollbook)


@pytest.mark.skipif(not DEEP, reason="takes three minutes; `make test-deep` runs it")
def test_an_idle_handler_keeps_its_offsets(settings: Settings, rollbook: Rollbook) -> None:
    """Longer than the broker would; and lag tools show no lag meanwhile."""
    handler = rollbook.start_handler()
    rollbook.start_projector("postgres")
    leave_and_come_back(settings)
    eventually(lambda: lag(settings) == 0, 30, "no lag")
    idle_until = time.monotonic() + 150
    while time.monotonic() < idle_until:
        assert lag(settings) == 0
        time.sleep(1)
    handler.kill()
    successor = rollbook.start_handler()
    assert_far_is_taken(settings, rollbook)
    assert "recovered" not in successor.text()
