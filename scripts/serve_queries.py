"""`rollbook serve queries`, with the operations that the read side itself may not import."""

import click

from runtime.command_line.context import pass_settings
from runtime.command_line.extras import listen_option, require_services
from runtime.settings import Settings


@click.command()
@listen_option(18083)
@click.option(
    "--operations",
    is_flag=True,
    help="Also serve rebuilds, swaps, drops, verify and dead letters; without it, only read.",
)
@pass_settings
def queries(settings: Settings, *, listen: str, operations: bool) -> None:
    """Serve users, history, search and events over HTTP until stopped.

    Any number of instances may run. One with --operations needs the operator's permissions, and
    keeps only its own jobs. Without keys (`rollbook keys`) it listens on this machine only.

    \b
    Examples:
      rollbook serve queries
      rollbook serve queries --listen 0.0.0.0:18083 --operations
    """  # noqa: D301 - \b tells click not to rewrap
    require_services()
    from projectors.service.app import queries_application
    from projectors.service.jobs.worker import Operation
    from runtime.http import serve
    from runtime.logs import start_logging
    from runtime.tracing import exporting
    from scripts.verify.job import verify

    start_logging(settings, "queries")
    with exporting(settings, "rollbook-queries"):
        others: dict[str, Operation] | None = {"verify": verify} if operations else None
        serve(settings, queries_application(settings, others), listen)
