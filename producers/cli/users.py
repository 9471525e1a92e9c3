"""The commands that create and update a user, and the one that shows an answer later.

`producers.cli.change` has the other changes of a user.
"""

import sys

import click

from producers.cli.sending import (
    Sending,
    expected_version_option,
    finish,
    send,
    sending_options,
    user_id_argument,
)
from runtime.command_line.context import pass_settings
from runtime.command_line.terminal import Parsed, json_option, say
from runtime.settings import Settings
from schemas.fields.rules import clean_command_id

_SCAN_LINE_RECORDS = 100_000


@click.command()
@click.option("--email", metavar="EMAIL", help="Address, unique among all users.")
@click.option("--name", metavar="NAME", help="1–200 characters.")
@click.option("--age", metavar="YEARS", type=int, help="0–150.")
@sending_options
@pass_settings
def create(
    settings: Settings,
    *,
    email: str | None,
    name: str | None,
    age: int | None,
    how: Sending,
) -> None:
    """Create a user and wait for the answer.

    With - the fields are read as one JSON object from standard input, so that they do not appear on
    a command line.

    \b
    Examples:
      rollbook users create --email jane@example.com --name "Jane Doe" --age 34
      echo '{"email": "jane@example.com", "name": "Jane Doe", "age": 34}' |
        rollbook users create -
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    fields = how.fields(email=email, name=name, age=age)
    if not how.stdin and None in (email, name, age):
        raise click.UsageError("give --email, --name and --age, or - to read JSON")
    from producers.client import create_command

    send(settings, create_command(**fields), how)


@click.command()
@user_id_argument
@click.option("--name", metavar="NAME", help="Another name, 1–200 characters.")
@click.option("--age", metavar="YEARS", type=int, help="Another age, 0–150.")
@expected_version_option
@sending_options
@pass_settings
def update(
    settings: Settings,
    *,
    user_id: str,
    name: str | None,
    age: int | None,
    expected_version: int | None,
    how: Sending,
) -> None:
    """Change a user's name, age or both and wait for the answer.

    With - the fields are read as one JSON object from standard input: name, age, expected_version.

    \b
    Examples:
      rollbook users update ID --age 35
      rollbook users update ID --name "Jane Roe" --expected-version 2
      rollbook users update ID --age 35 --wait postgres,elasticsearch
      echo '{"name": "Jane Roe"}' | rollbook users update ID -
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    fields = how.fields(name=name, age=age, expected_version=expected_version)
    if fields.get("name") is None and fields.get("age") is None:
        raise click.UsageError("there is nothing to update: give a name, an age or both")
    from producers.client import update_command

    send(settings, update_command(user_id, **fields), how)


@click.group()
def commands() -> None:
    """Show the outcome of a command."""


@commands.command()
@click.argument("command_id", metavar="ID", type=Parsed("id", clean_command_id))
@json_option
@pass_settings
def show(settings: Settings, *, command_id: str, as_json: bool) -> None:
    """Show the answer to a command, also long after it was sent.

    Exits with 0 if it was accepted, 3 if it was rejected or is unknown, 4 if it is not decided yet.

    What --command-id guarantees: if a command is sent again with the same id for the same user (a
    creation: with the same address) within five minutes of its answer, it is decided only once and
    gets the same answer, under any load and even after a handler has restarted or another one has
    taken over. The same id with different fields is rejected as command_id_reused. The setting
    outcomes_window_seconds is this time; the last outcomes_window_count commands of a partition
    are remembered for longer.

    After that time the command is decided as a new one, which is still safe: an address has only
    one user, and the same change applied twice changes nothing unless another came between. So
    pass --expected-version with a change that you may send again later. Use a new id for every new
    command; without --command-id, it is a new UUID.

    \b
    Example:
      rollbook commands show 018f3c6e-7a1b-7c3d-9e2f-0123456789ab
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from producers.client import find_outcome

    told = 0

    def show_progress(records: int) -> None:
        nonlocal told
        if sys.stderr.isatty() and records - told >= _SCAN_LINE_RECORDS:
            told = records
            say(f"{records:,} records of the log read")

    finish(find_outcome(settings, command_id, show_progress), as_json=as_json)
