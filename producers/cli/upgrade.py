"""`rollbook upgrade`: the format of the log, and the step that raises it for good."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from producers.cli.sending import issued_by_option
from runtime.command_line.context import pass_settings
from runtime.command_line.terminal import json_option, print_json, print_table, say, timeout_option
from runtime.settings import Settings
from schemas.errors import NotInTime, Rejected
from schemas.formats import FIRST_FORMAT, LATEST_FORMAT

if TYPE_CHECKING:  # Kafka's client takes longer to import than a help page to print
    from producers.client.upgrade import PartitionFormat

_timeout_option = timeout_option(
    10.0, "How long to wait for the first handler that does not answer."
)


@click.group()
def upgrade() -> None:
    """Show the format of the log, and finalise an upgrade."""


@upgrade.command()
@_timeout_option
@json_option
@pass_settings
def status(settings: Settings, *, timeout_seconds: float, as_json: bool) -> None:
    """Show the format of each partition, and whether its handler knows the latest one.

    Sends a question to every partition, which changes nothing. If no handler answers, the format
    is read from the log.

    \b
    Example:
      rollbook upgrade status
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from producers.client.upgrade import UpgradeClient

    with UpgradeClient(settings, timeout_seconds=timeout_seconds) as client:
        found = client.check()
    _print(settings, found, as_json=as_json)
    say(f"this release reads formats {FIRST_FORMAT}–{LATEST_FORMAT} and writes each partition's")
    behind = [one for one in found if one.format < LATEST_FORMAT]
    if behind:
        say(f"{len(behind)} partitions can be raised to {LATEST_FORMAT}: rollbook upgrade finalise")


@upgrade.command()
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@issued_by_option
@_timeout_option
@json_option
@pass_settings
def finalise(
    settings: Settings, *, yes: bool, issued_by: str | None, timeout_seconds: float, as_json: bool
) -> None:
    """Have every partition written in the latest format of the log.

    This cannot be undone: from then on, handlers of an older release refuse the partitions. So
    first upgrade the projectors, the handlers and the programs that send commands, and let the new
    release run for as long as you may want to return to the old one. The questions are asked first:
    if a handler is of an older release, or does not answer, no partition is changed. Running it
    again changes nothing.

    On a terminal, the command asks for confirmation; otherwise --yes is required.

    \b
    Examples:
      rollbook upgrade finalise
      rollbook upgrade finalise --yes --issued-by deploy-key
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError("finalising cannot be undone: confirm it with --yes")
    from producers.client.upgrade import UpgradeClient

    with UpgradeClient(settings, timeout_seconds=timeout_seconds, issued_by=issued_by) as client:
        found = client.check()
        _require_ready(settings, found, "no partition was changed")
        behind = [one for one in found if one.format < LATEST_FORMAT]
        if behind and not yes:
            _confirm(len(behind))
        raised = {one.partition: one for one in client.finalise(behind)}
    after = [raised.get(one.partition, one) for one in found]
    _print(settings, after, as_json=as_json)
    _require_ready(settings, after, "the others were changed")
    if not behind:
        say(f"every partition is in format {LATEST_FORMAT} already: nothing was changed")


def _confirm(count: int) -> None:
    """Ask. Raises `Rejected` (`not_confirmed`) on a no."""
    say(f"This raises {count} partitions to format {LATEST_FORMAT}. It cannot be undone: handlers")
    say("of an older release refuse them from then on.")
    if not click.confirm("Finalise?", err=True):
        raise Rejected("nothing was changed", code="not_confirmed")


def _require_ready(settings: Settings, found: Sequence["PartitionFormat"], effect: str) -> None:
    """Raise an error that names the partitions whose handlers cannot write the latest format."""
    from producers.client.upgrade import OLDER, SILENT

    older = [one.partition for one in found if one.answer == OLDER]
    silent = [one.partition for one in found if one.answer == SILENT]
    if older:
        raise Rejected(
            f"a handler of an older release decides {_named(settings, older)}; {effect}",
            code="older_release",
            next_step="upgrade that handler, then run this again",
        )
    if silent:
        raise NotInTime(
            f"no handler answers for {_named(settings, silent)}; {effect}",
            code="no_handler",
            next_step="is a handler running? `rollbook status`; then run this again",
        )


def _named(settings: Settings, numbers: Sequence[int]) -> str:
    """Return partitions as text, with the handlers that have them, as far as these are known."""
    from producers.handler.members import assigned_to

    handlers = assigned_to(settings)
    names = sorted({handlers[number] for number in numbers if number in handlers})
    text = f"partition{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
    return f"{text} ({', '.join(names)})" if names else text


def _print(settings: Settings, found: Sequence["PartitionFormat"], *, as_json: bool) -> None:
    from producers.handler.members import assigned_to

    handlers = assigned_to(settings)
    rows: list[dict[str, Any]] = [
        {
            "partition": one.partition,
            "format": one.format,
            "latest_format": LATEST_FORMAT,
            "handler": handlers.get(one.partition),
            "answer": one.answer,
            "changed": one.changed,
        }
        for one in found
    ]
    if as_json:
        for row in rows:
            print_json(row)
        return
    columns = ["partition", "format", "handler", "answer", "changed"]
    print_table(columns, [[row[name] for name in columns] for row in rows])
