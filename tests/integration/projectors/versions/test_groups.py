"""No consumer group of a version outlives it for long."""

from contextlib import closing

from confluent_kafka import Consumer, TopicPartition

from projectors.catalog import open_versions
from projectors.engine.subscription import group_of
from projectors.versions.groups import leftover_groups
from runtime.kafka.clients import admin, consumer_config
from runtime.settings import Settings
from schemas.topics import EVENTS
from tests.started.processes import Rollbook, eventually


def groups(settings: Settings) -> set[str]:
    """Return the groups of projectors, without the prefix."""
    client = admin(settings)
    begin = settings.named("rollbook-projector-")
    listed = client.list_consumer_groups().result().valid
    return {
        one.group_id.removeprefix(f"{settings.prefix}-")
        for one in listed
        if one.group_id.startswith(begin)
    }


def leave_group(settings: Settings, name: str) -> None:
    """Make a group as a version leaves it: with offsets, without members."""
    consumer = Consumer(consumer_config(settings, settings.named(name)))
    place = TopicPartition(settings.named(EVENTS.name), 0, 0)
    consumer.commit(offsets=[place], asynchronous=False)
    consumer.close()


def test_a_drop_deletes_the_group_of_the_version(settings: Settings, rollbook: Rollbook) -> None:
    """Once all processes have left it. The next rebuild deletes what earlier releases left."""
    processes = [rollbook.start_projector("postgres") for _ in range(2)]
    for process in processes:
        process.wait_for("projector postgres version 1 started")
    rebuilt = rollbook.run("projector", "rebuild", "postgres")
    assert rebuilt.returncode == 0, rebuilt.stderr
    for process in processes:
        process.wait_for("projector postgres version 2 started")
    both = {group_of("postgres", 1), group_of("postgres", 2)}
    eventually(lambda: groups(settings) == both, what="a group for each version")
    assert rollbook.run("projector", "swap", "postgres", "2").returncode == 0
    dropped = rollbook.run("projector", "drop", "postgres", "1", "--yes")
    assert (dropped.returncode, dropped.stderr) == (0, "version 1 of postgres is dropped\n")
    assert groups(settings) == {group_of("postgres", 2)}
    leave_group(settings, group_of("postgres", 77))
    with closing(open_versions(settings, "postgres")) as versions:
        assert leftover_groups(settings, versions) == [settings.named(group_of("postgres", 77))]
    assert rollbook.run("projector", "rebuild", "postgres").returncode == 0
    assert group_of("postgres", 77) not in groups(settings)


def test_groups_of_others_are_left_alone(settings: Settings) -> None:
    """Of other read models, of other registries, and of versions that exist."""
    kept = {group_of("postgres", 1), group_of("postgres-2", 5), "rollbook-projector-postgres-x"}
    for name in kept:
        leave_group(settings, name)
    with closing(open_versions(settings, "postgres")) as versions:
        versions.begin()
        assert leftover_groups(settings, versions) == []
    assert groups(settings) == kept
    client = admin(settings)
    for future in client.delete_consumer_groups([settings.named(one) for one in kept]).values():
        future.result()
