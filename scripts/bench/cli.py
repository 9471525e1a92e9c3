"""`rollbook bench`: measures rollbook beside its peers and upper bounds."""

import click

from runtime.command_line.context import pass_settings
from runtime.command_line.extras import require_services
from runtime.command_line.terminal import Seconds, json_option, print_json, print_table
from runtime.process import signals_as_interrupts
from runtime.settings import Settings
from schemas.errors import CheckFailed
from scripts.bench.access_cli import access
from scripts.bench.clients.cli import clients
from scripts.bench.every import every_part
from scripts.bench.options import clients_option, repeats_option, without_peer_option


@click.group()
@click.pass_context
def bench(context: click.Context) -> None:
    """Measure rollbook beside comparable systems and upper bounds.

    Benchmarks run from a checkout only; the wheel does not contain them.

    \b
    Examples:
      rollbook bench all           all of these except for access
      rollbook bench commands      the command side, beside its upper bound and its peer
      rollbook bench clients       clients that wait for each answer, beside those of a peer
      rollbook bench projectors    the query side, beside its peers and its upper bounds
      rollbook bench services      both services over HTTP, beside a no-op request and a peer
      rollbook bench sizes         disk, memory and time for a number of users
      rollbook bench access        what TLS and logins cost
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    # Handlers and peers under measurement must not outlive it.
    context.with_resource(signals_as_interrupts())


@bench.command()
@click.option(
    "--users",
    default=100_000,
    show_default=True,
    type=click.IntRange(100),
    help="How many creations each measurement decides; the peer gets only the first of them.",
)
@repeats_option
@click.option(
    "--state-users",
    default=1_000_000,
    show_default=True,
    type=click.IntRange(1_000),
    help="How many users are restored to measure memory and the rate of a restore.",
)
@without_peer_option
@click.option(
    "--peer-clients",
    default=8,
    show_default=True,
    type=click.IntRange(2),
    help="Number of concurrent clients of the peer, in addition to one client alone.",
)
@click.option(
    "--peer-seconds",
    default=5.0,
    show_default=True,
    type=Seconds(0.1),
    help="How long each way of running the peer is measured.",
)
@json_option
@pass_settings
def commands(
    settings: Settings,
    *,
    users: int,
    repeats: int,
    state_users: int,
    without_peer: bool,
    peer_clients: int,
    peer_seconds: float,
    as_json: bool,
) -> None:
    """Measure the command side beside its upper bound and its peer, on the running stack.

    The upper bound is a process that copies the handler's records without deciding anything. The
    peer is the library eventsourcing on the same PostgreSQL; `uv sync --group benchmark` installs
    it. Nothing else should run on the machine. Topics and tables are removed afterwards.

    \b
    Examples:
      rollbook bench commands
      rollbook bench commands --users 20000 --repeats 1 --state-users 100000 --without-peer
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from scripts.bench.command_side import commands as command_side
    from scripts.bench.peers import eventsourcing_library

    if not without_peer:
        eventsourcing_library.check_peer_installed()
    setups = () if without_peer else tuple(eventsourcing_library.peer_setups(peer_clients))
    plan = command_side.Plan(users, repeats, state_users, setups, peer_seconds, as_json)
    findings = command_side.measure(settings, plan)
    if as_json:
        print_json(command_side.as_json(findings))
    else:
        columns = ["measured", "median (least to greatest)", "goal", "survives"]
        print_table(columns, command_side.as_rows(findings))


@bench.command()
@click.option(
    "--users",
    default=200_000,
    show_default=True,
    type=click.IntRange(1_000),
    help="How many users each projector, peer and upper bound writes; the rates need 20,000.",
)
@click.option(
    "--queries-users",
    default=1_000_000,
    show_default=True,
    type=click.IntRange(1_000),
    help="How many users there are when queries are measured.",
)
@repeats_option
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["postgres", "elasticsearch", "rebuild", "visible", "queries", "search"]),
    help="Measure only this part; may be repeated.",
)
@json_option
@pass_settings
def projectors(
    settings: Settings,
    *,
    users: int,
    queries_users: int,
    repeats: int,
    only: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure the query side beside its peers and its upper bounds, on the running stack.

    The peers write the same users into the same table and mapping: Debezium's JDBC sink on Kafka
    Connect, which Maven fetches the first time (100 MB), and Quix Streams' sinks, which uv installs
    the first time. The upper bounds are COPY and prepared bulk requests. Nothing else should
    run on the machine. Topics, tables and indexes are removed afterwards.

    \b
    Examples:
      rollbook bench projectors
      rollbook bench projectors --only queries --queries-users 100000 --repeats 1
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from scripts.bench.query_side import projector_findings
    from scripts.bench.query_side.projectors import measure
    from scripts.bench.report.measure import machine

    parts = frozenset(only or projector_findings.PARTS)
    plan = projector_findings.Plan(users, queries_users, repeats, parts, as_json)
    measured_on = machine()
    findings = measure(settings, plan)
    if as_json:
        print_json(projector_findings.as_json(plan, findings, measured_on))
    else:
        columns = ["measured", "median (least to greatest)", "goal", "guarantees"]
        print_table(columns, projector_findings.as_rows(findings))
    if failed := projector_findings.failed_parts(findings):
        raise CheckFailed(f"not measured: {', '.join(failed)}")


@bench.command()
@click.option(
    "--users",
    default=50_000,
    show_default=True,
    type=click.IntRange(100),
    help="How many users there are when gets are measured.",
)
@clients_option
@click.option(
    "--seconds",
    default=3.0,
    show_default=True,
    type=Seconds(0.1),
    help="How long each kind of request is measured with each number of clients.",
)
@click.option(
    "--lines",
    default=50_000,
    show_default=True,
    type=click.IntRange(100),
    help="How many creations one request sends, and an import beside it.",
)
@repeats_option
@without_peer_option
@json_option
@pass_settings
def services(
    settings: Settings,
    *,
    users: int,
    clients: tuple[int, ...],
    seconds: float,
    lines: int,
    repeats: int,
    without_peer: bool,
    as_json: bool,
) -> None:
    """Measure both services over HTTP beside a no-op request and a peer, on the running stack.

    Each client sends a request when its last one is answered: a no-op, a get of a random user, or a
    creation, which is answered when it is decided. The peer is the library eventsourcing on the
    same PostgreSQL, behind FastAPI; `uv sync --group benchmark` installs it. Nothing else should
    run on the machine. Topics and tables are removed afterwards.

    \b
    Examples:
      rollbook bench services
      rollbook bench services --clients 64 --repeats 1 --without-peer
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    require_services()
    from scripts.bench.peers.eventsourcing_library import check_peer_installed
    from scripts.bench.report.measure import machine
    from scripts.bench.services import findings as report
    from scripts.bench.services.measure import measure

    if not without_peer:
        check_peer_installed()
    plan = report.Plan(users, clients, seconds, lines, repeats, not without_peer, as_json)
    measured_on = machine()
    findings = measure(settings, plan)
    if as_json:
        print_json(report.as_json(plan, findings, measured_on))
    else:
        print_table(
            ["measured", "median (least to greatest)", "goal"], report.as_rows(plan, findings)
        )


@bench.command()
@click.option(
    "--users",
    multiple=True,
    default=(10_000, 100_000),
    show_default=True,
    type=click.IntRange(1_000),
    help="How many users are created; may be repeated, to show how costs grow.",
)
@json_option
@pass_settings
def sizes(settings: Settings, *, users: tuple[int, ...], as_json: bool) -> None:
    """Measure what users take: disk in each store, memory of each process, and time.

    A handler creates the users, projectors fill all read models and rebuild them, and a handler
    restores. Needs the native local stack, because the disk of Kafka is read from its files.
    Topics, tables and indexes are removed afterwards.

    \b
    Examples:
      rollbook bench sizes
      rollbook bench sizes --users 100000 --users 1000000 --json
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from scripts.bench.sizes import measure_all

    found = measure_all(settings, users, as_json=as_json)
    if as_json:
        print_json(found.as_json())
    else:
        print_table(["measured", *(f"{one.users:,} users" for one in found.runs)], found.as_rows())


bench.add_command(access)
bench.add_command(clients)
bench.add_command(every_part)
