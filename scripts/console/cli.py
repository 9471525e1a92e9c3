"""`rollbook serve console`: pages for people, on the two services."""

import click

from runtime.command_line.context import pass_settings
from runtime.command_line.extras import listen_option, require_services
from runtime.settings import Settings


@click.command()
@listen_option(18084, "Where browsers connect. Port 0 is any free port.")
@pass_settings
def console(settings: Settings, *, listen: str) -> None:
    """Serve the console: pages to see and change users, and to run the read models.

    It calls `serve commands` and `serve queries`, at http_commands_url and http_queries_url, with
    the key of the person who signs in. Without keys, nobody needs to sign in, and it listens on
    this machine only.

    \b
    Example:
      rollbook serve console
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    require_services()
    from runtime.http import serve
    from runtime.logs import start_logging
    from runtime.tracing import exporting
    from scripts.console.application import console_of

    start_logging(settings, "console")
    with exporting(settings, "rollbook-console"):
        serve(settings, console_of(settings), listen)
