"""The command `rollbook verify`: reads and checks everything, and prints a line per invariant."""

import click

from runtime.command_line.context import pass_settings
from runtime.command_line.terminal import EXIT_FAILED, Seconds, json_option, print_json, say
from runtime.settings import Settings
from scripts.verify.run import run_checks


@click.command()
@click.option(
    "--timeout",
    "timeout_seconds",
    metavar="SECONDS",
    type=Seconds(min=0),
    default=30.0,
    show_default=True,
    help="How long to wait for the projectors to catch up.",
)
@click.option("--log-only", is_flag=True, help="Check only the topics, not the read models.")
@json_option
@pass_settings
def verify(settings: Settings, *, timeout_seconds: float, log_only: bool, as_json: bool) -> int:
    """Check that all topics and read models agree. Changes nothing.

    Reads every topic from its beginning, then every read model. Prints one line per invariant, with
    the places and ids of what violates it (never personal data): ✓ holds, ✗ is violated, · only
    counts what is worth knowing. Exits with 1 if one is violated.

    \b
    Examples:
      rollbook verify
      rollbook verify --log-only --json
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    total = broken = 0
    for check in run_checks(settings, timeout_seconds=timeout_seconds, log_only=log_only):
        total += 1
        broken += not check.holds
        if as_json:
            print_json(check.as_json())
            continue
        click.echo(check.line())
        for example in check.examples:
            click.echo(f"    {example}")
        if check.found > len(check.examples):
            click.echo(f"    … and {check.found - len(check.examples)} more")
    if not as_json:
        say(f"{broken} of {total} invariants are violated" if broken else "all invariants hold")
    return EXIT_FAILED if broken else 0
