"""The `rollbook` command: its groups of commands, and the exit code of each outcome."""

import logging
import sys
from importlib.util import find_spec

import click

from projectors.command_line.after_option import visible_in
from runtime.command_line.context import Root
from runtime.command_line.terminal import EXIT_FAILED, run_command
from runtime.logs import log_uncaught_in_threads
from scripts.lazy import LazyGroup

log = logging.getLogger(__name__)

# The wheel does not contain the benchmarks: they need the dependency groups of a checkout.
_BENCH = "scripts.bench.cli:bench" if find_spec("scripts.bench") else "scripts.cli:bench_is_absent"

# name → (module:attribute, one line for `rollbook --help`)
COMMANDS = {
    "users": ("scripts.users:users", "Create, change, find and import users."),
    "commands": ("producers.cli.users:commands", "Show the outcome of a command."),
    "events": ("projectors.cli.events:events", "Read the log of events."),
    "handler": ("producers.cli.handler:handler", "Run the command handler."),
    "projector": (
        "projectors.cli.projector:projector",
        "Run and inspect the read models' projectors.",
    ),
    "dead-letters": (
        "projectors.cli.dead_letters:dead_letters",
        "List, retry and discard records that could not be applied.",
    ),
    "serve": ("scripts.serve:serve", "Serve commands and queries over HTTP."),
    "keys": ("runtime.callers.cli:keys", "Create, list and revoke keys for the services."),
    "upgrade": (
        "producers.cli.upgrade:upgrade",
        "Show the format of the log, and finalise an upgrade.",
    ),
    "topics": ("runtime.command_line.cli:topics", "Create and check the Kafka topics and schemas."),
    "acl": ("runtime.roles.cli:acl", "Show which login needs which permissions."),
    "config": ("runtime.command_line.cli:config", "Show the settings and where they come from."),
    "stack": ("scripts.stack.cli:stack", "Start and stop the local servers."),
    "up": ("scripts.stack.cli:up", "Start servers, handler, projectors, services, console."),
    "down": ("scripts.stack.cli:down", "Stop everything that `up` started."),
    "status": ("scripts.stack.cli:status", "Show what runs and the lag of each read model."),
    "demo": ("scripts.demo:demo", "Show all of rollbook on real servers."),
    "doctor": ("scripts.doctor.cli:doctor", "Find problems of an installation before they hurt."),
    "verify": ("scripts.verify.cli:verify", "Check the invariants over topics and read models."),
    "backup": ("scripts.backup.cli:backup", "Copy the log to files."),
    "restore": ("scripts.backup.cli:restore", "Fill an empty registry from a backup."),
    "completion": ("scripts.completion:completion", "Print the completion script of a shell."),
    "bench": (_BENCH, "Measure rollbook beside its peers and upper bounds (from a checkout)."),
}


@click.group(
    cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option("--config", metavar="FILE", help="TOML file of settings.")
@click.version_option(package_name="rollbook", prog_name="rollbook")
@click.pass_context
def rollbook(context: click.Context, config: str | None) -> None:
    """A user registry on a log: commands in, events on Kafka, read models out.

    \b
    Examples:
      rollbook up                                  start everything locally
      rollbook users create --email jane@example.com --name "Jane Doe" --age 34
      rollbook users search jane
      rollbook down

    Exit codes: 0 done, 1 a check failed, 2 usage or configuration, 3 refused,
    4 not in time, 5 a server is unavailable, 130 interrupted.
    """  # noqa: D301 - \b tells click not to rewrap
    context.obj = Root(config, visible_in)


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench_is_absent(arguments: tuple[str, ...]) -> None:  # noqa: ARG001 - whatever was asked for
    """Explain that an installed rollbook has no benchmarks."""
    raise click.UsageError(
        "Benchmarks run from a checkout of rollbook; the wheel does not contain them."
    )


def main(arguments: list[str] | None = None) -> None:
    """Run `rollbook` and exit with its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    log_uncaught_in_threads()
    try:
        code = run(arguments)
    except Exception:
        log.critical("rollbook failed unexpectedly", exc_info=True)
        code = EXIT_FAILED
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command line; return its exit code instead of ending the process."""
    return run_command(rollbook, arguments, prog_name="rollbook")
