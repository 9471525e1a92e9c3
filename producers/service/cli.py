"""`rollbook serve commands`."""

import click

from runtime.command_line.context import pass_settings
from runtime.command_line.extras import listen_option, require_services
from runtime.settings import Settings


@click.command()
@listen_option(18082)
@pass_settings
def commands(settings: Settings, *, listen: str) -> None:
    """Serve commands over HTTP until stopped; any number of instances may run.

    \b
    Examples:
      rollbook serve commands
      rollbook serve commands --listen 0.0.0.0:18082
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    require_services()
    from producers.service.app import command_application
    from runtime.http import serve
    from runtime.logs import start_logging
    from runtime.tracing import exporting

    start_logging(settings, "commands")
    with exporting(settings, "rollbook-commands"):
        serve(settings, command_application(settings), listen)
