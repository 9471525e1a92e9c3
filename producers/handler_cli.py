"""`rollbook handler`: run the process that decides commands."""

import re

import click

from runtime.context import pass_settings
from runtime.settings import Settings


def _valid_instance(_context: click.Context, _option: click.Parameter, value: str) -> str:
    """It names a lock file and a transactional id."""
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
    help="Stable identity; every handler of a registry has its own.",
)
@pass_settings
def run(settings: Settings, *, instance: str) -> None:
    """Decide commands until stopped; several handlers share the partitions.

    \b
    Example:
      rollbook handler run --instance a
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from producers.handler import CommandHandler
    from runtime.process import StopSignal, only_instance, start_logging, until_available
    from runtime.registry import Registry
    from runtime.topic_admin import check_topics

    start_logging(settings)
    stop = StopSignal().install()
    with only_instance(settings, f"handler-{instance}"):
        until_available(stop, lambda: check_topics(settings))
        made = until_available(
            stop, lambda: CommandHandler(settings, Registry(settings), instance, stop)
        )
        if made is not None:
            made.run()
