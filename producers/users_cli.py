"""The commands that send one command and the one that looks it up later."""

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
import orjson

from runtime.context import pass_settings
from runtime.settings import Settings
from runtime.terminal import Seconds, json_option, print_fields, print_json, say
from schemas.errors import Rejected
from schemas.identity import parse_user_id
from schemas.rules import clean_command_id

if TYPE_CHECKING:  # Kafka's client takes longer to import than a help page to print
    from producers.outcomes import Outcome

_STDIN_MAX_BYTES = 16 * 1024 * 1024
_SCAN_LINE_RECORDS = 100_000


def _clean(check: Callable[[str], str]) -> Callable[[Any, Any, str | None], str | None]:
    """Return a click callback: an argument that is no id at all is a matter of usage."""

    def callback(_context: Any, _parameter: Any, value: str | None) -> str | None:
        try:
            return None if value is None else check(value)
        except Rejected as error:
            raise click.BadParameter(str(error)) from None

    return callback


def _sending_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
        click.option(
            "--command-id",
            metavar="ID",
            callback=_clean(clean_command_id),
            help="Send again under the id of an earlier try: it is decided once.",
        ),
        click.option(
            "--timeout",
            "timeout_seconds",
            metavar="SECONDS",
            type=Seconds(min=0, min_open=True, max=86_400),
            default=10.0,
            show_default=True,
            help="How long to wait for the answer.",
        ),
        json_option,
    ]
    for option in reversed(options):
        command = option(command)
    return command


_STDIN_ARGUMENT = click.argument("stdin", metavar="[-]", required=False, type=click.Choice(["-"]))


@click.command()
@_STDIN_ARGUMENT
@click.option("--email", metavar="EMAIL", help="Address, unique among all users.")
@click.option("--name", metavar="NAME", help="1–200 characters.")
@click.option("--age", metavar="YEARS", type=int, help="0–150.")
@_sending_options
@pass_settings
def create(
    settings: Settings,
    *,
    stdin: str | None,
    email: str | None,
    name: str | None,
    age: int | None,
    command_id: str | None,
    timeout_seconds: float,
    as_json: bool,
) -> None:
    """Create a user and wait for the answer.

    With - the fields are read as one JSON object from standard input, so that they do not stand on
    a command line.

    \b
    Examples:
      rollbook users create --email jane@example.com --name "Jane Doe" --age 34
      echo '{"email": "jane@example.com", "name": "Jane Doe", "age": 34}' |
        rollbook users create -
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    fields = _fields(stdin, {"email": email, "name": name, "age": age}, command_id)
    if not stdin and None in (email, name, age):
        raise click.UsageError("give --email, --name and --age, or - to read JSON")
    from producers.client import CommandClient, create_command

    command = create_command(**fields)
    with CommandClient(settings, timeout_seconds=timeout_seconds) as client:
        _finish(client.send(command), as_json=as_json)


@click.command()
@click.argument("user_id", metavar="ID", callback=_clean(parse_user_id))
@_STDIN_ARGUMENT
@click.option("--name", metavar="NAME", help="Another name, 1–200 characters.")
@click.option("--age", metavar="YEARS", type=int, help="Another age, 0–150.")
@click.option(
    "--expected-version",
    metavar="N",
    type=click.IntRange(min=1),
    help="Refuse unless the user is at this version.",
)
@_sending_options
@pass_settings
def update(
    settings: Settings,
    *,
    user_id: str,
    stdin: str | None,
    name: str | None,
    age: int | None,
    expected_version: int | None,
    command_id: str | None,
    timeout_seconds: float,
    as_json: bool,
) -> None:
    """Change a user's name, age or both and wait for the answer.

    With - the fields are read as one JSON object from standard input: name, age, expected_version.

    \b
    Examples:
      rollbook users update ID --age 35
      rollbook users update ID --name "Jane Roe" --expected-version 2
      echo '{"name": "Jane Roe"}' | rollbook users update ID -
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    given = {"name": name, "age": age, "expected_version": expected_version}
    fields = _fields(stdin, given, command_id)
    if fields.get("name") is None and fields.get("age") is None:
        raise click.UsageError("there is nothing to update: give a name, an age or both")
    from producers.client import CommandClient, update_command

    command = update_command(user_id, **fields)
    with CommandClient(settings, timeout_seconds=timeout_seconds) as client:
        _finish(client.send(command), as_json=as_json)


@click.group()
def commands() -> None:
    """See what became of a command."""


@commands.command()
@click.argument("command_id", metavar="ID", callback=_clean(clean_command_id))
@json_option
@pass_settings
def show(settings: Settings, *, command_id: str, as_json: bool) -> None:
    """Show the answer that a command got, also long after it was sent.

    Ends with 0 if it was accepted, 3 if it was rejected or is unknown, 4 if it is not decided yet.

    \b
    Example:
      rollbook commands show 018f3c6e-7a1b-7c3d-9e2f-0123456789ab
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    from producers.outcomes import find_outcome

    told = 0

    def tell(records: int) -> None:
        nonlocal told
        if sys.stderr.isatty() and records - told >= _SCAN_LINE_RECORDS:
            told = records
            say(f"{records:,} records of the log read")

    _finish(find_outcome(settings, command_id, tell), as_json=as_json)


def _finish(outcome: "Outcome", *, as_json: bool) -> None:
    """Print `outcome`; raise a rejected one, so that the command ends as refused."""
    (print_json if as_json else print_fields)(outcome.as_fields())
    if not outcome.accepted:
        raise outcome.rejection()


def _fields(
    stdin: str | None, given: Mapping[str, Any], command_id: str | None
) -> dict[str, object]:
    """Return the fields from the options, or from standard input if `-` was given."""
    if not stdin:
        return {**given, "command_id": command_id}
    if any(value is not None for value in given.values()):
        raise click.UsageError("give the fields as options or with -, not both")
    # What the object leaves out is not given, for the rules to say so.
    fields = dict.fromkeys(given) | _read_object({*given, "command_id"})
    if command_id is not None:
        if fields.get("command_id") not in (None, command_id):
            raise click.UsageError("--command-id and the JSON object name two command ids")
        fields["command_id"] = command_id
    return fields


def _read_object(allowed: set[str]) -> dict[str, object]:
    """Return the one JSON object on standard input; messages repeat nothing of it."""
    if sys.stdin.isatty():
        say("reading one JSON object from the keyboard; Ctrl-D ends it")
    raw = sys.stdin.buffer.read(_STDIN_MAX_BYTES + 1)
    if len(raw) > _STDIN_MAX_BYTES:
        raise click.UsageError("standard input is longer than 16 MiB")
    if not raw.strip():
        raise click.UsageError("standard input is empty; it must be one JSON object")
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise click.UsageError("standard input is not one valid JSON object") from None
    if not isinstance(fields, dict):
        raise click.UsageError("standard input is JSON but no object")
    if not fields.keys() <= allowed:
        raise click.UsageError(
            f"the JSON object has another field than {', '.join(sorted(allowed))}"
        )
    return fields
