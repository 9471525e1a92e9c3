"""Records as a backup holds them, and small backups on disk."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from schemas.records import CommandOutcome, UserCommand, UserEvent
from schemas.topics import COMMANDS, HISTORY, OUTCOMES
from scripts.backup.directory import BackupDirectory, Manifest, Part, PartitionCut
from scripts.backup.files import Copied, write_records

PARTITIONS = 4


def copy_of(record: Any, offset: int = 0, partition: int = 0) -> Copied:
    return {
        "partition": partition,
        "offset": offset,
        "timestamp": 1_700_000_000_000,
        "key": None,
        "headers": [],
        "record": record,
    }


def add_part(
    folder: Path,
    history: Sequence[Sequence[UserEvent]],
    *,
    outcomes: Iterable[tuple[int, CommandOutcome]] = (),
    commands: Iterable[tuple[int, UserCommand]] = (),
    version: int = 1,
    log_format: int = 2,
) -> Part:
    """Add a part with the events of each partition, and (partition, record) of the others."""
    directory = BackupDirectory(folder)
    parts = directory.parts()
    path, progress = directory.begin("topic", parts[-1].checksum if parts else "")
    answers, waiting = list(outcomes), list(commands)
    files = []
    for number, events in enumerate(history):
        copies = [copy_of(event, offset, number) for offset, event in enumerate(events)]
        files.append([write_records(path / f"history-{number:04}-0.avro", HISTORY, copies)])
    return directory.finish(
        path,
        Manifest(
            created_at="2026-01-31T12:00:00+00:00",
            prefix="",
            partitions=len(history),
            topic_id=progress.topic_id,
            previous=progress.previous,
            cuts=[
                PartitionCut(
                    next_offset=len(events),
                    seq=events[-1]["seq"] if events else 0,
                    time_ms=events[-1]["occurred_at"] if events else 0,
                    format=log_format,
                    outcomes=sum(number == one for one, _ in answers),
                )
                for number, events in enumerate(history)
            ],
            history=files,
            outcomes=write_records(
                path / "outcomes.avro", OUTCOMES, (copy_of(o, 0, n) for n, o in answers)
            ),
            commands=write_records(
                path / "commands.avro", COMMANDS, (copy_of(c, 0, n) for n, c in waiting)
            ),
            version=version,
        ),
    )
