"""Runs a query as a separate command, outside `rollbook`."""

import sys

import click

from projectors.command_line.after_option import visible_in
from runtime.command_line.context import Root
from runtime.command_line.terminal import run_command


def run(command: click.Command, arguments: list[str] | None = None) -> int:
    """Run one command line; return its exit code instead of leaving the process.

    `arguments` are those of the process by default. Settings come from ROLLBOOK_* variables and
    the TOML file, and errors end the command with the exit codes, as in `rollbook`.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    return run_command(command, arguments, obj=Root(None, visible_in))
