"""`rollbook handler`: run the process that decides commands."""

import re
from typing import TYPE_CHECKING

import click

from producers.cli.sending import user_id_argument
from runtime.command_line.context import pass_settings
from runtime.command_line.terminal import json_option, print_fields, print_json
from runtime.settings import Settings
from schemas.identity import SHARDS

if TYPE_CHECKING:
    from runtime.process import StopSignal


def _valid_instance(_context: click.Context, _option: click.Parameter, value: str) -> str:
    """Refuse an id that cannot name a lock file and a transactional id."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        raise click.BadParameter("use at most 64 letters, digits, dots, hyphens and underscores")
    return value


@click.group()
def handler() -> None:
    """Run the command handler."""


@handler.command()
@click.option(
    "--instance",
    required=True,
    metavar="ID",
    callback=_valid_instance,
    help="Name of this handler: unique in the registry, and the same after a restart.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, SHARDS),
    default=1,
    show_default=True,
    help="Number of processes, named ID.1, ID.2 …; those in excess of the partitions stay idle.",
)
@pass_settings
def run(settings: Settings, *, instance: str, processes: int) -> int:
    """Decide commands until stopped; several handlers share the partitions.

    If one of several processes ends by itself, the others are stopped, and the command returns the
    exit code of that process.

    \b
    Examples:
      rollbook handler run --instance a
      rollbook handler run --instance a --processes 2
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from runtime.logs import start_logging
    from runtime.metrics.serving import serving_metrics
    from runtime.metrics.table import HANDLER
    from runtime.process import StopSignal
    from runtime.processes import run_processes

    start_logging(settings, "handler", instance=instance)
    stop = StopSignal().install()
    if processes == 1:
        with serving_metrics(settings, HANDLER):
            run_handler(settings, instance, stop)
        return 0
    names = [f"{instance}.{number}" for number in range(1, processes + 1)]
    return run_processes(run_handler, settings, names, stop, HANDLER)


@handler.command()
@user_id_argument
@json_option
@pass_settings
def repair(settings: Settings, *, user_id: str, as_json: bool) -> None:
    """Replace a user's unreadable record (unreadable_log) by the last event of the history.

    A partition with a record of a user that no handler can read is not decided. Stop all handlers,
    find out who wrote the record, and repair its user: the id is the record's key. The event of
    the history is appended as it is, so running this again changes nothing.

    \b
    Example:
      rollbook handler repair ID
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from producers.handler.repair import repair_user

    event = repair_user(settings, user_id)
    fields = {name: event[name] for name in ("user_id", "version", "type", "seq")}
    (print_json if as_json else print_fields)(fields)


def run_handler(settings: Settings, instance: str, stop: "StopSignal") -> None:
    """Decide commands as `instance` until `stop` is set.

    Waits for servers that are unavailable. Raises what `CommandHandler.run` raises.
    """
    from producers.handler.start import start_handler
    from runtime.kafka.registry import Registry
    from runtime.memory import collect_rarely, use_few_heaps
    from runtime.process import only_instance, until_available
    from runtime.topics.admin import check_topics
    from runtime.tracing import exporting

    use_few_heaps()
    with (
        only_instance(settings, f"handler-{instance}"),
        exporting(settings, "rollbook-handler", instance),
    ):
        until_available(stop, lambda: check_topics(settings))
        started = until_available(
            stop, lambda: start_handler(settings, Registry(settings), instance, stop)
        )
        if started is not None:
            collect_rarely()
            started.run()
