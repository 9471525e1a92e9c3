"""The command `rollbook doctor`."""

from typing import Final

import click

from runtime.command_line.context import pass_settings
from runtime.command_line.progress import progress_reporter
from runtime.command_line.terminal import (
    EXIT_FAILED,
    EXIT_UNAVAILABLE,
    json_option,
    print_json,
    say,
)
from runtime.printable import printable
from runtime.settings import Settings
from scripts.doctor.finding import Examination, Level, Result

_MARKS: Final = {
    Level.PROBLEM: ("✗", "red"),
    Level.WARNING: ("!", "yellow"),
    Level.NOT_CHECKED: ("?", "cyan"),
    Level.OK: ("✓", "green"),
}


@click.command()
@click.option(
    "--role",
    "roles",
    multiple=True,
    help="The login of the settings must suffice for this role (docs/reference/roles.md); "
    "repeatable.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings too.")
@click.option("--all", "all_results", is_flag=True, help="Also show what is in order.")
@json_option
@pass_settings
def doctor(
    settings: Settings, *, roles: tuple[str, ...], strict: bool, all_results: bool, as_json: bool
) -> int:
    """Find problems of an installation before they hurt. Changes nothing.

    Checks topics, schemas, versions of servers, open transactions, offsets, permissions,
    certificates, clocks, disks, indexes, projectors and handlers, in a few seconds
    (docs/reference/checks.md). Prints ✗ problems, ! warnings and ? what could not be checked, each
    with a remedy. Exits with 1 for a problem, and with 5 if a server cannot be reached; the other
    checks still run. `rollbook verify` checks the data itself.

    \b
    Examples:
      rollbook doctor
      rollbook doctor --role handler --role projector-postgres --strict --json
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from runtime.roles.table import role_named
    from scripts.doctor.checks import GROUPS
    from scripts.doctor.run import run_groups

    for role in roles:
        role_named(settings, role)  # raises for a name that there is not
    done: list[str] = []

    def on_done(group: str) -> None:
        done.append(group)
        if show is not None:
            show()

    with progress_reporter(
        lambda _seconds: f"checked {', '.join(done)}",
        lambda: len(done),
        len(GROUPS),
        as_json=as_json,
        only_on_terminal=True,
    ) as show:
        results = run_groups(Examination(settings, roles), GROUPS, on_done)
    if as_json:
        for result in results:
            print_json(_as_json(result))
    else:
        _print(results, all_results=all_results)
    return exit_code(results, strict=strict)


def exit_code(results: list[Result], *, strict: bool) -> int:
    """Return 5 if a server cannot be reached, 1 for findings that matter, otherwise 0."""
    if any(result.finding.unreachable for result in results):
        return EXIT_UNAVAILABLE
    matter = {Level.PROBLEM, Level.WARNING} if strict else {Level.PROBLEM}
    return EXIT_FAILED if any(result.finding.level in matter for result in results) else 0


def _print(results: list[Result], *, all_results: bool) -> None:
    """Print a line for each finding, those that matter most first, and what to do about it."""
    for one in results:
        finding = one.finding
        if finding.level is not Level.OK or all_results:
            mark, colour = _MARKS[finding.level]
            click.echo(f"{click.style(mark, fg=colour)} {one.check}: {printable(finding.message)}")
            if finding.remedy:
                click.echo(f"    next: {printable(finding.remedy)}")
    counts = {level: sum(one.finding.level is level for one in results) for level in Level}
    say(", ".join(f"{level}: {count}" for level, count in counts.items() if count))


def _as_json(result: Result) -> dict[str, object]:
    finding = result.finding
    return {
        "group": result.group,
        "check": result.check,
        "result": finding.level,
        "message": finding.message,
        "next": finding.remedy,
    }
