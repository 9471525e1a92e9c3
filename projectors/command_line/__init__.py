"""What the command line of a query needs, for our own commands and custom ones.

`wait_for_token` adds `--after` and `--timeout` to a query; `run` runs one command with the
settings, errors and exit codes of `rollbook`. `projectors.cli` imports it. It is public, together
with `projectors.contract` and `projectors.promises`: a custom read model imports these three and,
if it is kept in PostgreSQL, `projectors.postgres.store`, whose names may change in any release.
"""

from projectors.command_line.after_option import wait_for_token
from projectors.command_line.run import run
from runtime.command_line.context import pass_settings
from runtime.command_line.terminal import (
    json_option,
    print_fields,
    print_json,
    print_table,
    say,
)
from runtime.printable import printable

__all__ = [
    "json_option",
    "pass_settings",
    "print_fields",
    "print_json",
    "print_table",
    "printable",
    "run",
    "say",
    "wait_for_token",
]
