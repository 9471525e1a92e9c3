"""How far each version of each read model is behind the log, in events."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from projectors.catalog import Opener, read_models
from projectors.contract.read_model import Dropped, Position, ReadModelVersions, Version
from projectors.contract.source import Source
from projectors.log.end import LogEnd, read_log_end
from projectors.log.times import iso_time
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.errors import Forbidden, Unavailable
from schemas.records import UserEvent
from schemas.topics import EVENTS, Topic

NEVER_RUN = "never run"
CAUGHT_UP = "caught up"
BEHIND = "behind"
OTHER_TOPIC = "other topic"
PAUSED = "paused"
# Of several partitions, the first state that one of them has counts for all.
_WORST_FIRST = (OTHER_TOPIC, NEVER_RUN, BEHIND, CAUGHT_UP)


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One version of a read model in one partition; queries see the version that is `live`.

    `position` and `end` are offsets; on an idle log there may be transaction markers between them.
    `lag` is in events, None if it is unknown. `applied_at` is in milliseconds since the epoch.
    """

    read_model: str
    version: int | None
    live: bool
    partition: int
    state: str
    position: int | None
    end: int
    lag: int | None
    applied_at: int | None

    def as_json(self) -> dict[str, Any]:
        """Return the fields as commands print them and services answer them."""
        return asdict(self) | {"applied_at": _iso(self.applied_at)}


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """One version of a read model in all partitions; the fields are those of `PartitionStatus`.

    `lag` is the sum, `applied_at` when an event was last applied. A paused version has the state
    `paused`, however far it is.
    """

    read_model: str
    version: int | None
    live: bool
    state: str
    partitions: int
    lag: int | None
    applied_at: int | None
    paused_at: int | None

    def as_json(self) -> dict[str, Any]:
        """Return the fields as commands print them."""
        times = {"applied_at": self.applied_at, "paused_at": self.paused_at}
        return asdict(self) | {name: _iso(unix_ms) for name, unix_ms in times.items()}


@dataclass(frozen=True, slots=True)
class ProjectorsStatus:
    """All partitions of the read models that answered, and the errors of the others.

    `versions` and `topics` are those of each read model; one that did not answer has no versions.
    """

    partitions: list[PartitionStatus]
    unavailable: dict[str, Unavailable | Forbidden]
    versions: dict[str, list[Version]]
    topics: dict[str, Topic]

    def as_rows(self) -> list[dict[str, Any]]:
        """Return the partitions as commands print them, with times in ISO 8601."""
        return [partition.as_json() for partition in self.partitions]

    def by_version(self) -> list[VersionStatus]:
        """Return one status for each version of each read model, in the order of the partitions."""
        grouped: dict[tuple[str, int | None], list[PartitionStatus]] = {}
        for one in self.partitions:
            grouped.setdefault((one.read_model, one.version), []).append(one)
        return [self._together(name, number, of) for (name, number), of in grouped.items()]

    def _together(
        self, name: str, number: int | None, partitions: Sequence[PartitionStatus]
    ) -> VersionStatus:
        paused_at = next((v.paused_at for v in self.versions[name] if v.number == number), None)
        states = {one.state for one in partitions}
        lags = [one.lag for one in partitions if one.lag is not None]
        return VersionStatus(
            name,
            number,
            partitions[0].live,
            next(one for one in _WORST_FIRST if one in states) if paused_at is None else PAUSED,
            len(partitions),
            sum(lags) if len(lags) == len(partitions) else None,
            max((one.applied_at for one in partitions if one.applied_at), default=None),
            paused_at,
        )


def read_status(settings: Settings, registry: Registry | None = None) -> ProjectorsStatus:
    """Return how far each version of each read model is. Raises `Unavailable` without Kafka.

    With a `registry` that has read the schema before, none needs to answer now.
    """
    # First, since nothing works without the registry; both topics hold the same records.
    decode = (registry or Registry(settings)).codec(EVENTS.schema).decode
    models = read_models(settings)
    # Checkpoints before ends: otherwise a checkpoint could be past the end that was read.
    with ThreadPoolExecutor(len(models)) as askers:
        answers = askers.map(partial(_ask, settings), models.values())
        found = dict(zip(models, answers, strict=True))
    ends = _log_ends(settings, [source for source, _ in found.values()], decode)
    partitions: list[PartitionStatus] = []
    unavailable: dict[str, Unavailable | Forbidden] = {}
    listed: dict[str, list[Version]] = {name: [] for name in found}
    for name, (source, answer) in found.items():
        if isinstance(answer, Unavailable | Forbidden):
            unavailable[name] = answer
            continue
        for version, checkpoint in answer:
            listed[name] += [version] if version else []
            partitions += partition_statuses(name, version, checkpoint, *ends[source.topic.name])
    topics = {name: source.topic for name, (source, _) in found.items()}
    return ProjectorsStatus(partitions, unavailable, listed, topics)


def version_fields(version: Version) -> dict[str, Any]:
    """Return a version as commands print it and services answer it."""
    times = ("created_at", "live_since", "paused_at")
    return asdict(version) | {name: _iso(getattr(version, name)) for name in times}


def _iso(unix_ms: int | None) -> str | None:
    return None if unix_ms is None else iso_time(unix_ms)


def _ask(
    settings: Settings, construct: Opener
) -> tuple[Source, list[tuple[Version | None, dict[int, Position]]] | Unavailable | Forbidden]:
    """Return the source of a read model, and its versions with their checkpoints or the error.

    A read model that never ran is one entry without a version.
    """
    found: list[tuple[Version | None, dict[int, Position]]] = []
    with closing(construct(settings)) as versions:
        try:
            for version in versions.versions():
                with suppress(Dropped):  # dropped since they were listed
                    found.append((version, _checkpoint(versions, version.number)))
        except (Unavailable, Forbidden) as error:
            return versions.source, error
        return versions.source, found or [(None, {})]


def _checkpoint(versions: ReadModelVersions, number: int) -> dict[int, Position]:
    with closing(versions.open(number)) as model:
        return model.checkpoint()


def _log_ends(
    settings: Settings,
    sources: Iterable[Source],
    decode: Callable[[bytes | None], UserEvent],
) -> dict[str, tuple[str, dict[int, LogEnd]]]:
    """Return topic name → its id and its ends, read concurrently."""
    by_topic = {source.topic.name: source for source in sources}
    with ThreadPoolExecutor(len(by_topic)) as readers:
        found = {
            name: readers.submit(read_log_end, settings, source, decode)
            for name, source in by_topic.items()
        }
        return {name: end.result() for name, end in found.items()}


def partition_statuses(
    name: str,
    version: Version | None,
    checkpoint: Mapping[int, Position],
    topic_id: str,
    ends: Mapping[int, LogEnd],
) -> list[PartitionStatus]:
    """Return the status of one version in each partition."""
    statuses = []
    for partition, end in sorted(ends.items()):
        position = checkpoint.get(partition)
        if position is None:
            lag: int | None = end.last_seq
            state = BEHIND if checkpoint else NEVER_RUN
            if checkpoint and not lag:
                state = CAUGHT_UP
        elif position.topic_id != topic_id:
            lag, state = None, OTHER_TOPIC
        else:
            lag = max(0, end.last_seq - position.last_seq)
            state = BEHIND if lag else CAUGHT_UP
        statuses.append(
            PartitionStatus(
                name,
                version.number if version else None,
                version is not None and version.live,
                partition,
                state,
                position.next_offset if position else None,
                end.end,
                lag,
                position.applied_at if position else None,
            )
        )
    return statuses
