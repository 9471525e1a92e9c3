"""The commands `rollbook backup` and `rollbook restore`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.command_line.context import pass_settings
from runtime.command_line.progress import progress_reporter
from runtime.command_line.terminal import json_option, print_fields, print_json
from runtime.process import only_instance, signals_as_interrupts
from runtime.settings import Settings

if TYPE_CHECKING:  # Kafka's client takes longer to import than a help page to print
    from scripts.backup.directory import Part

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@contextmanager
def _counted(what: str, total: int | None, *, as_json: bool) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes how much more is done, and shows it when due."""
    done = 0

    def describe(seconds: float) -> str:
        return f"{done:,} {what}, {done / max(seconds, 0.001):,.0f}/s"

    with progress_reporter(describe, lambda: done, total, as_json=as_json) as show:

        def add(count: int) -> None:
            nonlocal done
            done += count
            if show is not None:
                show()

        yield add


@click.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@json_option
@pass_settings
def backup(settings: Settings, *, folder: Path, as_json: bool) -> None:
    """Copy the log to files in DIR: everything at first, later only what is new.

    Handlers and clients may be running: the copy is one consistent state of all topics. Each run
    adds a folder `part-0001`, `part-0002` … of Avro files, readable only by you. They are personal
    data. A run that was killed is continued by the next one.

    \b
    Examples:
      rollbook backup /backup/rollbook
      rollbook backup /backup/rollbook --json
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from scripts.backup.take import take_backup

    begun_at = time.monotonic()
    with (
        only_instance(settings, "rollbook-backup"),
        signals_as_interrupts(),
        _counted("records copied", None, as_json=as_json) as add,
    ):
        part = take_backup(settings, folder, add)
    _print_part(part, time.monotonic() - begun_at, as_json=as_json)


def _print_part(part: "Part", seconds: float, *, as_json: bool) -> None:
    manifest = part.manifest
    files = manifest.files()
    (print_json if as_json else print_fields)(
        {
            "part": str(part.path),
            "events": sum(one.records for some in manifest.history for one in some),
            "answers": manifest.outcomes.records,
            "undecided_commands": manifest.commands.records,
            "skipped": manifest.skipped,
            "bytes": sum(one.size_bytes for one in files),
            "seconds": round(seconds, 1),
        }
    )


@click.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option(
    "--erasures",
    "erasures_file",
    metavar="FILE",
    type=_FILE,
    help="Ids of users who were erased since the backup, one a line: they are erased again.",
)
@json_option
@pass_settings
def restore(settings: Settings, *, folder: Path, erasures_file: Path | None, as_json: bool) -> None:
    """Fill an empty registry from the backup in DIR, with all its parts.

    The cluster may be another one, with other offsets and schema ids; topics that are missing are
    created. The number of partitions must be the same. Every file is checked before anything is
    written. Until the restore is complete, handlers refuse the registry; a run that was killed is
    continued by the same command.

    Stop handlers and clients first, and start them afterwards. Read models that exist are rebuilt
    with `rollbook projector rebuild`.

    \b
    Examples:
      rollbook restore /backup/rollbook
      rollbook restore /backup/rollbook --erasures erased.txt
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from scripts.backup import restore as restoring
    from scripts.backup.erasures import read_erasures

    begun_at = time.monotonic()
    erasures = read_erasures(erasures_file) if erasures_file else set()
    with only_instance(settings, "rollbook-restore"), signals_as_interrupts():
        with _counted("bytes checked", None, as_json=as_json) as add:
            parts = restoring.open_backup(settings, folder, add)
        with _counted("records written", None, as_json=as_json) as add:
            restored = restoring.restore(settings, parts, erasures, add)
    (print_json if as_json else print_fields)(
        {
            "parts": len(parts),
            "until": parts[-1].manifest.created_at,
            "users": restored.users,
            "events": restored.events,
            "claims": restored.claims,
            "answers": restored.answers,
            "undecided_commands": restored.commands,
            "left_out_commands": restored.left_out,
            "erased": restored.erased,
            "seconds": round(time.monotonic() - begun_at, 1),
        }
    )
