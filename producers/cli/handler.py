"""`rollbook handler`: run the process that decides commands."""

import gc
import re
from typing import TYPE_CHECKING

import click

from runtime.context import pass_settings
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
    from runtime.process import StopSignal, start_logging
    from runtime.processes import run_processes

    start_logging(settings)
    stop = StopSignal().install()
    if processes == 1:
        run_handler(settings, instance, stop)
        return 0
    names = [f"{instance}.{number}" for number in range(1, processes + 1)]
    return run_processes(run_handler, settings, names, stop)


def run_handler(settings: Settings, instance: str, stop: "StopSignal") -> None:
    """Decide commands as `instance` until `stop` is set.

    Waits for servers that are unavailable. Raises what `CommandHandler.run` raises.
    """
    from producers.handler.start import start_handler
    from runtime.process import only_instance, until_available
    from runtime.registry import Registry
    from runtime.topic_admin import check_topics

    with only_instance(settings, f"handler-{instance}"):
        until_available(stop, lambda: check_topics(settings))
        started = until_available(
            stop, lambda: start_handler(settings, Registry(settings), instance, stop)
        )
        if started is not None:
            # A batch makes many objects but no cycles, and the state is bytes: at the default
            # threshold the garbage collector rescans the batch repeatedly, which takes a tenth of
            # the time.
            gc.set_threshold(100_000, 50, 50)
            started.run()
