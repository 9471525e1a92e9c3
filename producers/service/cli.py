"""`rollbook serve commands`."""

import click

from runtime.context import pass_settings
from runtime.settings import Settings


@click.command()
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:18082",
    show_default=True,
    help="Address to listen on.",
)
@pass_settings
def commands(settings: Settings, *, listen: str) -> None:
    """Serve commands over HTTP until stopped; any number of instances may run.

    \b
    Examples:
      rollbook serve commands
      rollbook serve commands --listen 0.0.0.0:18082
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from runtime.extras import require_services

    require_services()
    from producers.service.app import command_application
    from runtime.http import serve
    from runtime.process import start_logging

    start_logging(settings)
    serve(settings, command_application(settings), listen)
