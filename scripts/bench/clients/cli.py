"""`rollbook bench clients`."""

import click

from runtime.command_line.context import pass_settings
from runtime.command_line.terminal import Seconds, json_option, print_json, print_table
from runtime.settings import Settings
from scripts.bench.options import clients_option, repeats_option, without_peer_option


@click.command()
@clients_option
@click.option(
    "--seconds",
    default=5.0,
    show_default=True,
    type=Seconds(0.5),
    help="How long creations, and then updates, are measured with each number of clients.",
)
@repeats_option
@without_peer_option
@json_option
@pass_settings
def clients(
    settings: Settings,
    *,
    clients: tuple[int, ...],
    seconds: float,
    repeats: int,
    without_peer: bool,
    as_json: bool,
) -> None:
    """Measure clients that wait for each answer, ours and the peer's, on the running stack.

    Each creates users, one after the other, and then changes their names. Ours are callers of one
    client for many commands at once, with one handler. The peer's are threads of processes that
    use the library eventsourcing on the same PostgreSQL, with `synchronous_commit` on and off;
    `uv sync --group benchmark` installs it. Nothing else should run on the machine. Topics and
    tables are removed afterwards.

    \b
    Examples:
      rollbook bench clients
      rollbook bench clients --clients 1 --clients 64 --repeats 1 --without-peer
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from scripts.bench.clients import measure as work
    from scripts.bench.peers.eventsourcing_library import check_peer_installed
    from scripts.bench.report.measure import machine

    if not without_peer:
        check_peer_installed()
    plan = work.Plan(clients, seconds, repeats, not without_peer, as_json)
    measured_on = machine()
    findings = work.measure(settings, plan)
    if as_json:
        print_json(work.as_json(settings, plan, findings, measured_on))
    else:
        print_table(
            ["measured", "median (least to greatest)", "goal"], work.as_rows(plan, findings)
        )
