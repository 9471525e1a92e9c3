"""`rollbook bench`: what a person or a script asks to be measured."""

from collections.abc import Iterator
from typing import Any

import click

from runtime.context import pass_settings
from runtime.settings import Settings
from runtime.terminal import Seconds, json_option, print_json, print_table, say
from schemas.errors import CheckFailed

_GOALS = {
    "vs_passthrough": "≥ 0.3, then 0.5",
    "single_command_p50_ms": "≤ 15",
    "single_command_p99_ms": "≤ 60",
    "elasticsearch_vs_bulk_limit": "≥ 0.6",
}

_repeats_option = click.option(
    "--repeats",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    help="How often everything is measured, in turn.",
)


@click.group(invoke_without_command=True)
@click.pass_context
def bench(context: click.Context) -> None:
    """Measure ours and the bare limits side by side.

    \b
    Examples:
      rollbook bench                            the pipeline with 100,000 users, three times
      rollbook bench pipeline --users 20000 --repeats 1 --json
      rollbook bench commands                   the command side, beside its limit and its peer
      rollbook bench projectors                 the query side, beside its peers and its limits
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    if context.invoked_subcommand is None:
        context.invoke(pipeline)


@bench.command()
@click.option(
    "--users",
    "count",
    default=100_000,
    show_default=True,
    type=click.IntRange(20_000),
    help="How many users every measurement works on.",
)
@_repeats_option
@json_option
@pass_settings
def pipeline(settings: Settings, *, count: int, repeats: int, as_json: bool) -> None:
    """Measure import, handler, projectors and one command, on the stack that runs.

    Every repeat has topics and read models of its own, removed afterwards. Nothing else should run
    on the machine; a handler or projector of the registry itself may, idle.

    \b
    Example:
      rollbook bench pipeline --users 20000 --repeats 1
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from scripts.bench.measure import percentiles, ratios, spread

    values: dict[str, list[float]] = {}
    lone: list[float] = []
    for repeat in range(repeats):
        say(f"repeat {repeat + 1} of {repeats}")
        for name, value in _one_repeat(settings, count, lone):
            values.setdefault(name, []).append(value)
            say(f"  {name}: {value:,.0f}")
    p50, p99 = percentiles(lone)
    result: dict[str, Any] = {name: spread(found) for name, found in values.items()}
    result |= {
        "vs_passthrough": ratios(values["handler_per_second"], values["passthrough_per_second"]),
        "postgres_vs_copy_limit": ratios(
            values["postgres_per_second"], values["copy_limit_per_second"]
        ),
        "elasticsearch_vs_bulk_limit": ratios(
            values["elasticsearch_per_second"], values["bulk_limit_per_second"]
        ),
        "single_command_p50_ms": spread([p50]),
        "single_command_p99_ms": spread([p99]),
    }
    if as_json:
        print_json({"users": count, **{name: one.as_json() for name, one in result.items()}})
    else:
        rows = [(name, one, _GOALS.get(name, "")) for name, one in result.items()]
        print_table(["measured", "median (least to greatest)", "goal"], rows)


@bench.command()
@click.option(
    "--users",
    default=100_000,
    show_default=True,
    type=click.IntRange(100),
    help="How many creations every measurement decides; the peer, the first of them.",
)
@_repeats_option
@click.option(
    "--state-users",
    default=1_000_000,
    show_default=True,
    type=click.IntRange(1_000),
    help="How many users are restored for the figures of memory and restore.",
)
@click.option("--without-peer", is_flag=True, help="Leave the library eventsourcing out.")
@click.option(
    "--peer-clients",
    default=8,
    show_default=True,
    type=click.IntRange(2),
    help="Processes of the peer at once, beside its one client.",
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
    """Measure the command side beside its limit and its peer, on the stack that runs.

    The limit is a process that copies the handler's records without deciding anything. The peer is
    the library eventsourcing on the same PostgreSQL: `uv sync --group benchmark` installs it.
    Nothing else should run on the machine. Topics and tables are removed afterwards.

    \b
    Examples:
      rollbook bench commands
      rollbook bench commands --users 20000 --repeats 1 --state-users 100000 --without-peer
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from scripts.bench import command_side, peer

    if not without_peer:
        peer.check_peer_installed()
    setups = () if without_peer else tuple(peer.peer_setups(peer_clients))
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
    type=click.IntRange(20_000),
    help="How many users each projector, peer and limit writes.",
)
@click.option(
    "--queries-users",
    default=1_000_000,
    show_default=True,
    type=click.IntRange(1_000),
    help="Among how many users queries are asked.",
)
@_repeats_option
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["postgres", "elasticsearch", "rebuild", "visible", "queries", "search"]),
    help="Measure this part, and others only if they are named as well.",
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
    """Measure the query side beside its peers and its limits, on the stack that runs.

    The peers write the same users into the same table and mapping: Debezium's JDBC sink on Kafka
    Connect, which Maven fetches the first time (80 MB), and Quix Streams' sinks, which
    `uv sync --group benchmark` installs. The limits are COPY and bulk requests made before. Nothing
    else should run on the machine. Topics, tables and indexes are removed afterwards.

    \b
    Examples:
      rollbook bench projectors
      rollbook bench projectors --only queries --queries-users 100000 --repeats 1
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from scripts.bench import projector_findings
    from scripts.bench.projectors import measure

    parts = frozenset(only or projector_findings.PARTS)
    plan = projector_findings.Plan(users, queries_users, repeats, parts, as_json)
    findings = measure(settings, plan)
    if as_json:
        print_json(projector_findings.as_json(findings))
    else:
        columns = ["measured", "median (least to greatest)", "goal", "guarantees"]
        print_table(columns, projector_findings.as_rows(findings))
    if findings.broken:
        raise CheckFailed(f"not measured: {', '.join(findings.broken)}")


def _one_repeat(settings: Settings, count: int, lone: list[float]) -> Iterator[tuple[str, float]]:
    """Yield (name, value) of every measurement; lone commands' milliseconds go into `lone`."""
    from scripts.bench import our_projectors, store_limits, write_side
    from scripts.bench.handlers import running_handlers
    from scripts.bench.registry_under_test import fresh_registry
    from scripts.bench.user_index import empty_user_index
    from scripts.bench.user_table import empty_user_table

    with fresh_registry(settings) as own:
        with running_handlers(own) as alive:
            rate = write_side.handler_creates_per_second(own, count, alive)
            yield "handler_per_second", rate
            lone += write_side.lone_command_ms(own)
        with fresh_registry(settings) as limit:
            yield "passthrough_per_second", write_side.passthrough_per_second(limit, count, own)
        for name in ("postgres", "elasticsearch"):
            yield f"{name}_per_second", our_projectors.project(own, name, count).per_second
        with empty_user_table(own) as table:
            rate = store_limits.copied_rows_per_second(table, count)
            yield "copy_limit_per_second", rate
        with empty_user_index(own) as index:
            rate = store_limits.bulk_documents_per_second(index, count)
            yield "bulk_limit_per_second", rate
    with fresh_registry(settings) as own, running_handlers(own):
        yield "import_per_second", write_side.import_users_per_second(own, count)
