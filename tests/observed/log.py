"""Writes to the topics and reads them directly, without handlers and projectors."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import chain
from operator import itemgetter
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from producers.client.build import command_partition
from runtime.kafka.clients import admin, end_reader, producer_config
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from runtime.topics.admin import found_config
from runtime.topics.log_ranges import log_ranges, read_topic
from schemas.errors import Poisoned
from schemas.records import CommandOutcome, UserCommand, UserEvent
from schemas.topics import COMMANDS, EVENTS, HISTORY, OUTCOMES, Topic
from tests.samples.given import create
from tests.started.processes import eventually


def read(settings: Settings, topic: Topic, *, skip_foreign: bool = False) -> Iterator[Any]:
    """Yield (partition, record) of a topic from its beginning to its end.

    In order within a partition; between partitions in any order. Raises `Poisoned` for bytes that
    are not a record, unless they are skipped.
    """
    codec = Registry(settings).codec(topic.schema)
    partitions = range(1 if topic.one_partition else settings.partitions)
    with closing(end_reader(settings)) as consumer:
        ranges = log_ranges(settings, topic, partitions)
        for message in chain.from_iterable(read_topic(settings, consumer, topic, ranges)):
            try:
                record = codec.decode(message.value())
            except Poisoned:
                if not skip_foreign:
                    raise
            else:
                yield message.partition(), record


def put(
    settings: Settings, topic: Topic, *records: tuple[bytes | str | None, bytes | None, int]
) -> None:
    """Write (key, value, partition) of each record, as any program with the topic's name can."""
    producer = Producer(producer_config(settings))
    for key, value, partition in records:
        producer.produce(settings.named(topic.name), value, key, partition)
    assert producer.flush(30) == 0


def alter_topics(settings: Settings, topics: Iterable[Topic], **options: str) -> None:
    """Change options of topics and wait until the broker reports them; `_` stands for `.`.

    The controller answers slightly before the brokers apply a change. A handler that starts in
    between would keep the old age of a segment for as long as it runs.
    """
    wanted = {name.replace("_", "."): value for name, value in options.items()}
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            settings.named(topic.name),
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in wanted.items()
            ],
        )
        for topic in topics
    ]
    client = admin(settings)
    for altered in client.incremental_alter_configs(resources).values():
        altered.result()
    for topic in topics:
        has_changed = partial(_has_options, client, settings.named(topic.name), wanted)
        eventually(has_changed, 30, f"{topic.name} is changed")


def _has_options(client: AdminClient, name: str, wanted: dict[str, str]) -> bool:
    return wanted.items() <= found_config(client, name).items()


def send(settings: Settings, commands: Iterable[UserCommand]) -> None:
    """Put commands on the log, in this order, without waiting for answers."""
    encode = Registry(settings).codec(COMMANDS.schema).encode
    records = [
        (command["command_id"], encode(command), command_partition(command, settings.partitions))
        for command in commands
    ]
    put(settings, COMMANDS, *records)


def send_creates(settings: Settings, tag: str, count: int) -> None:
    """Put `count` creations on the log without waiting for answers."""
    send(
        settings,
        (create(f"{tag}{n}@example.com", command_id=f"{tag}-{n}") for n in range(count)),
    )


def decided(settings: Settings) -> int:
    """Return how many commands have an outcome."""
    return sum(1 for _ in read(settings, OUTCOMES))


def assert_exactly_once(settings: Settings, commands: int) -> None:
    """Every command has one outcome and one event, which both topics of events have."""
    history: list[tuple[int, UserEvent]] = list(read(settings, HISTORY))
    assert_decided_once(list(read(settings, OUTCOMES)), history, commands)
    partition_of_record = itemgetter(0)
    events = sorted(read(settings, EVENTS), key=partition_of_record)
    assert events == sorted(history, key=partition_of_record)


def assert_decided_once(
    outcomes: list[tuple[int, CommandOutcome]],
    history: list[tuple[int, UserEvent]],
    commands: int,
) -> None:
    """Every creation has one outcome and one event; seq, offsets and addresses have no flaw."""
    assert len(outcomes) == len({outcome["command_id"] for _, outcome in outcomes}) == commands
    assert {outcome["status"] for _, outcome in outcomes} == {"accepted"}
    assert len(history) == commands
    for partition in {number for number, _ in outcomes}:
        seqs = [event["seq"] for number, event in history if number == partition]
        assert seqs == list(range(1, len(seqs) + 1))
        offsets = [o["command_offset"] for number, o in outcomes if number == partition]
        assert offsets == sorted(set(offsets))
    addresses = Counter(event["user"]["email_key"] for _, event in history if event["user"])
    assert set(addresses.values()) == {1}
