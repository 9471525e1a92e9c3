"""Checks of the handlers: their group, their offsets, and how long reading the log takes."""

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from functools import cached_property
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from producers.handler.members import GROUP, members
from projectors.log.waiting import first_times
from runtime.kafka.clients import REQUEST_TIMEOUT_SECONDS, admin, end_reader, kafka_available
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from runtime.topics.admin import found_config
from runtime.topics.log_ranges import LogRange, log_ranges, read_topic
from schemas.errors import Poisoned
from schemas.topics import COMMANDS, EVENTS, HISTORY, HOPS, Topic
from scripts.doctor.finding import Examination, Finding, ok, problem, warning

_LATE_PROBLEM, _LATE_WARNING = 0.5, 0.25
_SAMPLE_RECORDS: Final = 50_000
_SAMPLE_SECONDS: Final = 1.5
# Below this, a sample says nothing about the rate, and reading takes no time.
_FEW_RECORDS: Final = 2_000
# A store takes its time too: rebuilds were measured at a third of the rate of decoding.
_REBUILD_FACTOR: Final = 3.0


class HandlerFacts:
    """What the handlers' group and the log say, each read once."""

    def __init__(self, examination: Examination) -> None:
        self.settings = examination.settings

    @cached_property
    def assigned(self) -> list[int]:
        """The partitions of the commands that members of the group have."""
        topic = self.settings.named(COMMANDS.name)
        return [
            place.partition
            for member in members(self.settings)
            for place in member.assignment.topic_partitions
            if place.topic == topic
        ]

    def ranges(self, topic: Topic) -> dict[int, LogRange]:
        """Return the committed range of each partition of a topic."""
        return log_ranges(self.settings, topic, range(self.settings.partitions))

    def committed(self, topic: Topic) -> dict[int, int]:
        """Return the group's offset of each partition, negative where it has none."""
        name, group = self.settings.named(topic.name), self.settings.named(GROUP)
        places = [TopicPartition(name, number) for number in range(self.settings.partitions)]
        with kafka_available(self.settings, f"Describe on group {group}"):
            client = admin(self.settings)
            answer = client.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group, places)],
                request_timeout=REQUEST_TIMEOUT_SECONDS,
            )[group].result()
        return {one.partition: one.offset for one in answer.topic_partitions}

    def option_ms(self, topic: Topic, option: str) -> int:
        """Return one of a topic's times."""
        name = self.settings.named(topic.name)
        with kafka_available(self.settings, f"DescribeConfigs on topic {name}"):
            return int(found_config(admin(self.settings), name)[option])


def group(facts: HandlerFacts) -> list[Finding]:
    """Look whether handlers decide every partition."""
    return [group_finding(facts.assigned, facts.settings.partitions)]


def group_finding(assigned: Collection[int], partitions: int) -> Finding:
    """Return what to think of the partitions that handlers have."""
    missing = set(range(partitions)) - set(assigned)
    remedy = "`rollbook handler run` on at least one machine; a restart takes some seconds"
    if len(missing) == partitions:
        return problem("no handler runs: commands are not decided", remedy)
    if missing:
        shown = ", ".join(map(str, sorted(missing)[:5]))
        return problem(f"{len(missing)} partitions have no handler, such as {shown}", remedy)
    return ok(f"handlers have all {partitions} partitions")


def offsets(facts: HandlerFacts) -> Iterator[Finding]:
    """Look whether what is not decided is still on the log, and how old it is."""
    for topic in (COMMANDS, HOPS):
        ranges, committed = facts.ranges(topic), facts.committed(topic)
        yield from offset_findings(topic.name, ranges, committed)
        begin = {p: max(committed.get(p, 0), there.low) for p, there in ranges.items()}
        waiting = {p: at for p, at in begin.items() if at < ranges[p].end}
        times = first_times(facts.settings, topic, waiting) if waiting else {}
        oldest = max((time.time() - ms / 1000 for ms in times.values()), default=0.0)
        yield waiting_finding(topic.name, oldest, facts.option_ms(topic, "retention.ms") / 1000)


def offset_findings(
    name: str, ranges: Mapping[int, LogRange], committed: Mapping[int, int]
) -> Iterator[Finding]:
    """Yield the partitions whose committed offset does not fit to what the log has."""
    for partition, there in sorted(ranges.items()):
        at = committed.get(partition, -1)
        where = f"{name} partition {partition}"
        if at < 0 and there.end > 0:
            yield warning(
                f"the group has no offset for {where}: it has expired, or no handler ever ran",
                "start a handler: it recovers the offset from the log (docs/decisions/0022)",
            )
        elif 0 <= at < there.low:
            yield problem(
                f"{where} begins at {there.low}, but is decided only up to {at}: Kafka has deleted "
                "records that were not decided",
                "find out why no handler ran; those who sent them must send them again",
            )
        elif at > there.end:
            yield problem(
                f"{where} ends at {there.end}, but is decided up to {at}: its end is missing",
                "was the topic created again, or restored without its group? see lost_offsets "
                "in docs/reference/errors.md",
            )


def waiting_finding(name: str, seconds: float, kept_seconds: float) -> Finding:
    """Return what to think of records that wait for a handler and are kept for `kept_seconds`."""
    text = f"the oldest record of {name} that is not decided is {seconds:.0f} s old"
    remedy = f"run handlers: {name} is deleted after {kept_seconds / 3600:.0f} hours"
    if seconds > _LATE_PROBLEM * kept_seconds:
        return problem(text, remedy)
    return warning(text, remedy) if seconds > _LATE_WARNING * kept_seconds else ok(text)


def reading_time(facts: HandlerFacts) -> Iterator[Finding]:
    """Measure how fast this machine reads the log, and compare that with what tombstones are kept.

    A rebuild that takes longer than brokers keep tombstones may miss an erasure.
    """
    for topic in (EVENTS, HISTORY):
        ranges = facts.ranges(topic)
        records = sum(there.end - there.low for there in ranges.values())
        if records < _FEW_RECORDS:
            yield ok(f"{topic.name} has too few records to measure how long reading takes")
            continue
        rate = _measured_rate(facts.settings, topic, ranges)
        kept_seconds = facts.option_ms(topic, "delete.retention.ms") / 1000
        yield reading_finding(topic.name, _REBUILD_FACTOR * records / rate, kept_seconds)


def reading_finding(name: str, seconds: float, kept_seconds: float) -> Finding:
    """Return what to think of a rebuild that takes `seconds`."""
    text = (
        f"a rebuild from {name} takes about {seconds / 60:,.0f} min here; its tombstones are kept "
        f"for {kept_seconds / 3600:,.0f} hours"
    )
    remedy = f"raise delete.retention.ms of {name}, or rebuild on a faster machine"
    if seconds > kept_seconds:
        return problem(text, remedy)
    return warning(text, remedy) if seconds > kept_seconds / 2 else ok(text)


def _measured_rate(settings: Settings, topic: Topic, ranges: Mapping[int, LogRange]) -> float:
    """Return how many records a second are read and decoded here, from a sample."""
    decode = Registry(settings).codec(topic.schema).decode
    began, records = time.monotonic(), 0
    with closing(end_reader(settings)) as consumer:
        for messages in read_topic(settings, consumer, topic, ranges):
            for message in messages:
                records += 1
                try:
                    decode(message.value())
                except Poisoned:
                    continue  # a dead letter tells of it
            if records > _SAMPLE_RECORDS or time.monotonic() - began > _SAMPLE_SECONDS:
                break
    return max(records, 1) / (time.monotonic() - began)
