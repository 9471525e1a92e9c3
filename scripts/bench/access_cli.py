"""`rollbook bench access`."""

import click

from runtime.command_line.extras import require_services
from runtime.command_line.terminal import Seconds, json_option, print_json, print_table
from scripts.bench.options import repeats_option


@click.command()
@click.option("--plain", required=True, metavar="STACK", help="A stack without TLS and logins.")
@click.option("--secure", required=True, metavar="STACK", help="A stack with both.")
@click.option(
    "--users",
    default=20_000,
    show_default=True,
    type=click.IntRange(100),
    help="How many users each registry has at first.",
)
@click.option(
    "--seconds",
    default=5.0,
    show_default=True,
    type=Seconds(0.1),
    help="How long each kind of request is measured on each stack.",
)
@repeats_option
@json_option
def access(
    *, plain: str, secure: str, users: int, seconds: float, repeats: int, as_json: bool
) -> None:
    """Measure what TLS and logins cost: the same work on a plain and a secure stack in turn.

    Creations by 64 callers of one client and by a single one, a rebuild in PostgreSQL, and gets of
    users; for each the ratio of secure to plain, and the processor time. Both stacks must run on
    this machine, and nothing else should. Topics and tables are removed afterwards.

    \b
    Examples:
      rollbook bench access --plain default --secure locked
      rollbook bench access --plain default --secure locked --users 2000 --seconds 1 --repeats 1
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    require_services()
    from scripts.bench import access as work
    from scripts.bench.report.measure import machine

    without = work.settings_of(plain, secure=False)
    with_both = work.settings_of(secure, secure=True)
    measured_on = machine()
    findings = work.measure(without, with_both, work.Plan(users, seconds, repeats, as_json))
    found = work.spreads(findings)
    if as_json:
        figures = {name: one.as_json() for name, one in found.items()}
        print_json({"users": users, "seconds_each": seconds, "machine": measured_on, **figures})
    else:
        print_table(
            ["measured", "median (least to greatest)"],
            [(name, str(one)) for name, one in found.items()],
        )
