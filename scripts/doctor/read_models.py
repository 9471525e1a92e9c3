"""Checks of the read models: their versions and projectors, what dropped versions left, letters."""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from typing import Final

from confluent_kafka import KafkaException

from projectors.catalog import open_versions
from projectors.contract.read_model import BUILDING, READY, Version
from projectors.dead_letters.reader import read_letters
from projectors.engine.subscription import group_of
from projectors.log.times import iso_time
from projectors.versions.groups import leftover_groups
from projectors.versions.rebuild_lock import is_rebuilding
from projectors.versions.status import OTHER_TOPIC, ProjectorsStatus, read_status
from runtime.kafka.clients import REQUEST_TIMEOUT_SECONDS, admin, kafka_available
from schemas.letters import HANDLER, Letter
from schemas.topics import DEAD_LETTERS
from scripts.doctor.finding import Examination, Finding, not_checked, ok, problem, warning

# After this long, erased users may be in a paused version for longer than anywhere else.
_PAUSED_SECONDS: Final = 24 * 3600.0
_SOON_MS: Final = 4 * 86_400_000


class ReadModelFacts:
    """What the stores say of their versions, and brokers of their groups."""

    def __init__(self, examination: Examination) -> None:
        self.settings = examination.settings

    @cached_property
    def status(self) -> ProjectorsStatus:
        """How far each version of each read model is."""
        return read_status(self.settings)

    def assigned(self, name: str, version: int) -> list[int]:
        """Return the partitions that the projectors of a version have."""
        group = self.settings.named(group_of(name, version))
        client = admin(self.settings)
        with kafka_available(self.settings, f"Describe on group {group}"):
            [described] = client.describe_consumer_groups(
                [group], request_timeout=REQUEST_TIMEOUT_SECONDS
            ).values()
            try:
                found = described.result().members
            except KafkaException as error:
                if error.args[0].name() == "GROUP_ID_NOT_FOUND":
                    return []
                raise
        return [place.partition for one in found for place in one.assignment.topic_partitions]


def versions(facts: ReadModelFacts) -> Iterator[Finding]:
    """Look whether each read model has a live version of the present log, and none is paused."""
    for name, error in facts.status.unavailable.items():
        yield not_checked(f"{name}: {error}", error.next_step)
    states = {(one.read_model, one.version): one.state for one in facts.status.by_version()}
    lost = {
        (one.read_model, one.version) for one in facts.status.partitions if one.state == OTHER_TOPIC
    }
    for name, found in facts.status.versions.items():
        if name not in facts.status.unavailable:
            is_building = any(one.state == BUILDING for one in found)
            is_alone = is_building and not is_rebuilding(facts.settings, name)
            numbers = {number for model, number in lost if model == name}
            yield from version_findings(
                name, found, numbers, abandoned=is_alone, now_ms=time.time_ns() // 1_000_000
            )
    if states:
        yield ok(f"{len(states)} versions are listed")


def version_findings(
    name: str,
    found: Sequence[Version],
    of_other_topic: Collection[int | None],
    *,
    abandoned: bool,
    now_ms: int,
) -> Iterator[Finding]:
    """Yield what is wrong with the versions of a read model."""
    run = f"`rollbook projector run {name}`"
    if not found:
        yield problem(f"{name} does not exist: queries of it fail", f"{run} creates and fills it")
    elif not any(one.live for one in found):
        yield problem(
            f"no version of {name} is live: queries of it fail",
            f"`rollbook projector swap {name} VERSION` makes one live",
        )
    for one in found:
        label = f"version {one.number} of {name}"
        if one.number in of_other_topic:
            yield problem(
                f"{label} shows an earlier log: the topics were created again since it was built",
                f"`rollbook projector rebuild {name}`, then swap to the new version",
            )
        if one.paused_at is not None:
            text = f"{label} is paused since {iso_time(one.paused_at)}: it does not follow the log"
            remedy = f"`rollbook projector resume {name} --version {one.number}`"
            is_long = now_ms - one.paused_at > _PAUSED_SECONDS * 1000
            yield (problem if is_long else warning)(text, remedy)
        if one.state == BUILDING and abandoned:
            yield warning(
                f"{label} was left by a rebuild that was killed",
                f"{run} drops it within a minute, if its login may; so does the next rebuild, or "
                f"`rollbook projector drop {name} {one.number}`",
            )


def projectors(facts: ReadModelFacts) -> Iterator[Finding]:
    """Look whether projectors keep every version up to date."""
    for name, found in facts.status.versions.items():
        for one in found:
            if one.state == READY:
                assigned = facts.assigned(name, one.number)
                yield projector_finding(name, one.number, assigned, facts.settings.partitions)


def projector_finding(
    name: str, version: int, assigned: Collection[int], partitions: int
) -> Finding:
    """Return what to think of the partitions that the projectors of a version have."""
    missing = partitions - len(set(assigned) & set(range(partitions)))
    remedy = f"`rollbook projector run {name}` on at least one machine"
    if missing == partitions:
        return problem(f"no projector runs for version {version} of {name}", remedy)
    if missing:
        text = f"{missing} partitions of version {version} of {name} have no projector"
        return problem(text, f"{remedy}; a restart takes some seconds")
    return ok(f"projectors of version {version} of {name} have all {partitions} partitions")


def groups(facts: ReadModelFacts) -> Iterator[Finding]:
    """Look for consumer groups of versions that do not exist."""
    for name, found in facts.status.versions.items():
        if not found:
            continue
        with closing(open_versions(facts.settings, name)) as opened:
            for group in leftover_groups(facts.settings, opened):
                yield warning(
                    f"the consumer group {group} belongs to a dropped version",
                    f"the next drop or rebuild of {name} deletes it; at once: `kafka-consumer-"
                    f"groups.sh --bootstrap-server {facts.settings.kafka_bootstrap_servers} "
                    f"--delete --group {group}`",
                )


def letters(facts: ReadModelFacts) -> Iterator[Finding]:
    """Look for open dead letters."""
    kept_ms = int(DEAD_LETTERS.config["retention.ms"])
    return letter_findings(
        read_letters(facts.settings).letters, kept_ms, time.time_ns() // 1_000_000
    )


def letter_findings(found: Iterable[Letter], kept_ms: int, now_ms: int) -> Iterator[Finding]:
    """Yield the readers with open letters; letters are deleted after `kept_ms`."""
    opened = [letter for letter in found if letter.is_open]
    for reader, count in sorted(Counter(letter.reader for letter in opened).items()):
        oldest = min(letter.occurred_at for letter in opened if letter.reader == reader)
        text = f"{count} open dead letters of {reader}, the oldest of {iso_time(oldest)}"
        remedy = f"`rollbook dead-letters list --reader {reader}`; then retry or discard them"
        if reader == HANDLER:
            yield warning(text, remedy)  # commands that nobody could have decided
        elif now_ms - oldest > kept_ms - _SOON_MS:
            yield problem(f"{text}: it will soon be deleted", remedy)
        else:
            yield problem(f"{text}: the read model lacks them", remedy)
