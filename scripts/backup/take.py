"""Takes a backup: copies what is new since the last part, then cuts all topics at one state.

1. Copy `user-history`, partition by partition, up to its present end. A killed run continues after
the last partition that it has copied. 2. Note the positions of the handlers. 3. Copy again what is
new: what was decided before the positions is copied then. 4. Read the ends of `user-history`, and
decide on the cut (see `scripts.backup.cut`). 5. Copy the rest of the events, then the answers, then
the commands without one. 6. Write the manifest.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from producers.client.upgrade import formats_on_the_log
from producers.domain.address_messages import checked_key
from runtime.settings import Settings
from schemas.errors import Misconfigured, Poisoned
from schemas.formats import UNFINISHED_RESTORE
from schemas.records import AddressMessage, UserCommand
from schemas.topics import COMMANDS, HISTORY, HOPS, OUTCOMES
from scripts.backup.cut import (
    Answers,
    Ends,
    before_cut,
    changes_in_progress,
    late_ms,
    limit_ms,
    no_cut,
    time_ms,
)
from scripts.backup.directory import (
    BackupDirectory,
    CopiedPartition,
    Manifest,
    Part,
    PartitionCut,
    Progress,
)
from scripts.backup.files import BackupFile, Copied, read_records, write_records
from scripts.backup.source import Source, without_erased

# An address change across partitions takes some milliseconds; in most registries they are rare.
_ATTEMPTS = 5
_ATTEMPT_SECONDS = 0.05
# Handlers follow one another's clocks for at most a minute.
_LATE_SECONDS = 75.0


def take_backup(settings: Settings, folder: Path, report: Callable[[int], None]) -> Part:
    """Add a part to the backup in `folder` and return it; `report` gets the records copied.

    Handlers, projectors and clients may be running. Raises `Misconfigured` (`other_log`) if the
    folder has the backup of another log.
    """
    directory = BackupDirectory(folder)
    parts = directory.parts()
    with Source(settings) as source:
        last = parts[-1] if parts else None
        if last is not None:
            _require_same_log(source, last)
        path, progress = directory.begin(source.topic_id, last.checksum if last else "")
        if not progress.copied:
            before = last.manifest.cuts if last else [PartitionCut()] * settings.partitions
            progress.copied = {p: CopiedPartition(reached) for p, reached in enumerate(before)}
        taking = _Taking(source, path, progress, report)

        def copy_each() -> None:
            for partition in progress.copied:
                progress.copied[partition] = taking.copy(partition)
                directory.keep(path, progress)

        copy_each()
        answers = taking.positions()
        copy_each()  # short, and so is what it leaves for the cut, which is kept in memory
        return directory.finish(path, taking.cut(answers))


def _require_same_log(source: Source, last: Part) -> None:
    manifest, settings = last.manifest, source.settings
    if (manifest.topic_id, manifest.partitions) != (source.topic_id, settings.partitions):
        raise Misconfigured(
            f"{last.path.parent} has the backup of another log than "
            f"{settings.named(HISTORY.name)}: the topic was re-created, or is another registry's",
            code="other_log",
            next_step="begin a new backup in an empty folder",
        )


class _Taking:
    """One run: `copy` each partition, note `positions`, `copy` again, then `cut`."""

    def __init__(
        self, source: Source, path: Path, progress: Progress, report: Callable[[int], None]
    ) -> None:
        self._source = source
        self._partitions = range(source.settings.partitions)
        self._path = path
        self._progress = progress
        self._report = report

    def copy(self, partition: int) -> CopiedPartition:
        """Copy what is new in one partition, without users who are erased within it.

        Waits for open transactions: one that ends is in the positions before it is readable here.
        """
        copied, erased, skipped = self._progress.copied[partition], set[str](), self._source.skipped
        end = self._source.end(HISTORY, partition)
        last: Copied | None = None

        def counted() -> Iterator[Copied]:
            nonlocal last
            start = copied.reached.next_offset
            for one in self._source.events(partition, start, end, erased):
                last = one
                yield one
                self._report(1)

        path = self._next_file(partition)
        file = write_records(path, HISTORY, counted())
        if erased:  # their events came before the marker
            kept = without_erased(read_records(path, HISTORY), erased)
            file = write_records(path, HISTORY, kept)
        if not file.records:
            path.unlink()
        files = [*copied.files, file] if file.records else copied.files
        reached = copied.reached if last is None else _after(last, copied.reached)
        return CopiedPartition(reached, files, copied.skipped + self._source.skipped - skipped)

    def _next_file(self, partition: int) -> Path:
        number = len(self._progress.copied[partition].files)
        return self._path / f"history-{partition:04}-{number}.avro"

    def cut(self, answers: dict[int, Answers]) -> Manifest:
        """Copy the rest up to a consistent cut; return the manifest of the part."""
        source, copied = self._source, self._progress.copied
        skipped = source.skipped - sum(one.skipped for one in copied.values())
        ends, tails, limit = self._consistent()
        commands_ends = {p: source.end(COMMANDS, p) for p in self._partitions}
        formats = self._formats()
        kept = {p: before_cut(ends, limit, p, tail) for p, tail in tails.items()}
        cuts = {
            p: replace(_after(kept[p][-1], cut) if kept[p] else cut, format=formats[p])
            for p, cut in ((p, one.reached) for p, one in copied.items())
        }
        outcomes, counts = self._copy_outcomes(cuts, answers, limit)
        return Manifest(
            created_at=datetime.fromtimestamp(time_ms(ends, limit) // 1000, UTC).isoformat(),
            prefix=source.settings.prefix,
            partitions=len(self._partitions),
            topic_id=self._progress.topic_id,
            previous=self._progress.previous,
            cuts=[replace(cut, outcomes=counts[p]) for p, cut in cuts.items()],
            history=[self._history_files(p, kept[p]) for p in self._partitions],
            outcomes=outcomes,
            commands=self._copy_commands(answers, commands_ends),
            skipped=source.skipped - skipped,
        )

    def positions(self) -> dict[int, Answers]:
        """Return where undecided commands can begin, and where their answers will be.

        The ends of the answers are read first: whatever is decided after the positions has its
        answer after those ends.
        """
        ends = self._source.committed_ends(OUTCOMES)
        return {p: Answers(ends[p].end, *self._source.positions(p)) for p in self._partitions}

    def _formats(self) -> dict[int, int]:
        """Return the format of each partition, at least that of the events read before."""
        formats = formats_on_the_log(self._source.settings, self._partitions)
        if UNFINISHED_RESTORE in formats.values():
            raise Misconfigured(
                "the registry is being restored from a backup",
                code="unfinished_restore",
                next_step="wait for `rollbook restore`, or run it again if it was interrupted",
            )
        return formats

    def _consistent(self) -> tuple[Ends, dict[int, list[Copied]], int | None]:
        """Return ends, the events not copied yet, and a limit that keeps all that are copied.

        Waits while copied events are stamped ahead of the limit, as those of a handler whose clock
        is ahead. Raises `Unavailable` (`no_cut`) if that would take longer than clocks may differ.
        """
        source, copied = self._source, self._progress.copied
        copied_ms = {p: one.reached.time_ms for p, one in copied.items()}
        deadline = time.monotonic() + _LATE_SECONDS
        skipped = source.skipped
        while True:
            source.skipped = skipped
            ends = self._ends()
            tails = {}
            for p, end in {p: source.end(HISTORY, p) for p in self._partitions}.items():
                tails[p] = list(source.events(p, copied[p].reached.next_offset, end, set()))
            limit = limit_ms(ends, tails)
            late_seconds = late_ms(limit, copied_ms) / 1000
            if not late_seconds:
                return ends, tails, limit
            if time.monotonic() + late_seconds > deadline:
                raise no_cut(copied_ms)
            time.sleep(late_seconds)

    def _ends(self) -> Ends:
        """Read the ends of `user-history`, if possible while no address message is committed."""
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_ATTEMPT_SECONDS)
            before = self._source.committed_ends(HOPS)
            now_ms = time.time_ns() // 1_000_000
            history = {p: self._source.end(HISTORY, p) for p in self._partitions}
            if self._source.committed_ends(HOPS) == before:
                return Ends(history, is_quiet=True, now_ms=now_ms)
        return Ends(history, is_quiet=False, now_ms=now_ms)

    def _history_files(self, partition: int, kept: list[Copied]) -> list[BackupFile]:
        """Write the tail of a partition; return its files."""
        files = self._progress.copied[partition].files
        if not kept:
            return files
        self._report(len(kept))
        return [*files, write_records(self._next_file(partition), HISTORY, kept)]

    def _copy_outcomes(
        self, cuts: dict[int, PartitionCut], answers: dict[int, Answers], limit: int | None
    ) -> tuple[BackupFile, dict[int, int]]:
        """Copy the answers that handlers remember, and note which commands have one."""
        counts = dict.fromkeys(cuts, 0)

        def outcomes() -> Iterator[Copied]:
            for partition, cut in cuts.items():
                found = answers[partition]
                end = self._source.end(OUTCOMES, partition)
                start = self._source.window_start(partition, end, cut.time_ms)
                start = min(start, found.start)
                for one in self._source.records(OUTCOMES, partition, start, end):
                    if found.take(one, cut.seq, limit):
                        counts[partition] += 1
                        yield one
                        self._report(1)

        return write_records(self._path / "outcomes.avro", OUTCOMES, outcomes()), counts

    def _copy_commands(self, answers: dict[int, Answers], ends: dict[int, int]) -> BackupFile:
        """Copy the commands without an answer in the cut, in the order of their offsets."""
        changes = changes_in_progress(self._messages(answers), len(self._partitions))

        def commands() -> Iterator[Copied]:
            for p, found in answers.items():
                earlier, first = found.earlier(changes.get(p, {})), found.first_command
                known = {o: _rebuilt(p, o, command) for o, command in earlier.items() if command}
                for one in self._source.records(COMMANDS, p, min(earlier, default=first), first):
                    if one["offset"] in earlier:
                        known[one["offset"]] = one
                # Rebuilt are those that retention has deleted.
                yield from (known[offset] for offset in sorted(known))
                for one in self._source.records(COMMANDS, p, first, ends[p]):
                    if one["offset"] not in found.answered:
                        yield one

        return write_records(self._path / "commands.avro", COMMANDS, commands())

    def _messages(self, answers: dict[int, Answers]) -> Iterator[AddressMessage]:
        for partition, found in answers.items():
            for message in self._source.address_messages(partition, found.first_message):
                with suppress(Poisoned):
                    checked_key(message)
                    yield message


def _after(one: Copied, before: PartitionCut) -> PartitionCut:
    """Return where the cut is once `one` is its last event."""
    event = one["record"]
    return replace(
        before,
        next_offset=one["offset"] + 1,
        seq=event["seq"],
        time_ms=event["occurred_at"],
    )


def _rebuilt(partition: int, offset: int, command: UserCommand) -> Copied:
    """Return the command of an address change whose record is no longer on the log."""
    return {
        "partition": partition,
        "offset": offset,
        "timestamp": command["issued_at"],
        "key": command["command_id"],
        "headers": [],
        "record": command,
    }
