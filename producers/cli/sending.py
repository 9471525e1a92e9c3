"""Options, input and output of the `rollbook users` commands that send one command."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click
import orjson

from runtime.command_line.context import Visibility, root
from runtime.command_line.terminal import (
    Parsed,
    json_option,
    print_fields,
    print_json,
    say,
    timeout_option,
)
from runtime.settings import Settings
from schemas.errors import Forbidden, NotInTime, Unavailable
from schemas.fields.rules import clean_command_id, clean_issued_by
from schemas.identity import parse_user_id

if TYPE_CHECKING:  # Kafka's client takes longer to import than a help page to print
    from producers.client import Outcome
    from schemas.records import UserCommand

_STDIN_MAX_BYTES = 16 * 1024 * 1024


user_id_argument = click.argument("user_id", metavar="ID", type=Parsed("id", parse_user_id))
expected_version_option = click.option(
    "--expected-version",
    metavar="N",
    type=click.IntRange(min=1),
    help="Refuse unless the user is at this version.",
)


issued_by_option = click.option(
    "--issued-by",
    metavar="NAME",
    type=Parsed("name", clean_issued_by),
    help="Who asks, for the audit trail: the name of a key or an opaque id, never a person.",
)


class _Names(click.ParamType[tuple[str, ...]]):
    name = "names"

    def convert(self, value: Any, _param: Any, _context: Any) -> tuple[str, ...]:
        if isinstance(value, tuple):  # the default
            return value
        names = tuple(name.strip() for name in value.split(","))
        if not all(names):
            raise click.BadParameter("separate the names by commas: postgres,elasticsearch")
        return names


wait_option = click.option(
    "--wait",
    "wait_for",
    metavar="NAMES",
    type=_Names(),
    default=(),
    help="Also wait until these read models show the change, such as postgres,elasticsearch.",
)


@dataclass(frozen=True, slots=True)
class Sending:
    """How to send a command: read models to wait for, total time limit and output format.

    `stdin` is whether its fields are read from standard input; `command_id` and `issued_by` are the
    options' values.
    """

    wait_for: tuple[str, ...]
    timeout_seconds: float
    as_json: bool
    stdin: bool
    command_id: str | None
    issued_by: str | None

    def fields(self, **given: object) -> dict[str, object]:
        """Return the fields of the command: those `given` as options, or from standard input.

        Raises click's `UsageError` if both give fields, or if standard input is not one JSON object
        with these fields.
        """
        options = {"command_id": self.command_id, "issued_by": self.issued_by}
        if not self.stdin:
            return {**given, **options}
        if any(value is not None for value in given.values()):
            raise click.UsageError("give the fields as options or with -, not both")
        # A field that the object lacks becomes None, and the rules reject it.
        fields = dict.fromkeys(given) | _read_object({*given, *options})
        for name, value in options.items():
            if value is not None:
                if fields.get(name) not in (None, value):
                    option = f"--{name.replace('_', '-')}"
                    raise click.UsageError(f"{option} and the JSON object give different values")
                fields[name] = value
        return fields


def sending_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `-`, `--command-id`, `--issued-by`, `--wait`, `--timeout` and `--json`, all as `how`."""

    @click.argument("stdin", metavar="[-]", required=False, type=click.Choice(["-"]))
    @click.option(
        "--command-id",
        metavar="ID",
        type=Parsed("id", clean_command_id),
        help="Repeat an earlier attempt by passing its id: for at least five minutes the command "
        "is decided only once and the answer is the same (see `rollbook commands show --help`).",
    )
    @issued_by_option
    @wait_option
    @timeout_option(10.0, "How long to wait, for the answer and for --wait together.")
    @json_option
    @wraps(command)
    def sending(
        *args: Any,
        wait_for: tuple[str, ...],
        timeout_seconds: float,
        as_json: bool,
        stdin: str | None,
        command_id: str | None,
        issued_by: str | None,
        **given: Any,
    ) -> Any:
        how = Sending(wait_for, timeout_seconds, as_json, bool(stdin), command_id, issued_by)
        return command(*args, how=how, **given)

    return sending


def send(settings: Settings, command: "UserCommand", how: Sending) -> None:
    """Send `command`, print its answer, and wait until the read models of `how` show it.

    Raises `Rejected` if it was rejected, and `NotInTime` if the answer and the read models together
    take too long.
    """
    from producers.client import CommandClient
    from runtime.tracing import exporting

    with (
        exporting(settings, "rollbook"),
        visible_in(settings, how.wait_for) as visibility,
        CommandClient(settings, timeout_seconds=how.timeout_seconds) as client,
    ):
        deadline = time.monotonic() + how.timeout_seconds
        outcome = client.send(command)
        finish(outcome, as_json=how.as_json)
        await_visible(visibility, outcome.token, deadline - time.monotonic())


def visible_in(
    settings: Settings, names: Sequence[str]
) -> AbstractContextManager[Visibility | None]:
    """Return a context that waits for these read models, if any; enter it before sending.

    Raises `Misconfigured` if a name is unknown.
    """
    return root().visible_in(settings, names) if names else nullcontext()


def await_visible(
    visibility: Visibility | None,
    token: str | None,
    timeout_seconds: float,
    *,
    extend_on_progress: bool = False,
) -> None:
    """Wait until `visibility` shows what was accepted; return at once if either is None.

    Raises `NotInTime` also if a store is unavailable or denies access: their own errors would mean
    that nothing was sent.
    """
    if visibility is None or token is None:
        return
    try:
        visibility.wait(token, timeout_seconds, extend_on_progress=extend_on_progress)
    except (NotInTime, Unavailable, Forbidden) as error:
        raise NotInTime(
            f"accepted, but not yet visible: {error}",
            code=error.code,
            next_step=f"{error.next_step}; a query with --after and the answer's token waits again",
        ) from error


def finish(outcome: "Outcome", *, as_json: bool) -> None:
    """Print `outcome`; raise `Rejected` if it was rejected."""
    (print_json if as_json else print_fields)(outcome.as_fields())
    if not outcome.accepted:
        raise outcome.rejection()


def _read_object(allowed: set[str]) -> dict[str, object]:
    """Return the JSON object on standard input; error messages never quote it."""
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
        raise click.UsageError("standard input is JSON but not an object")
    if not fields.keys() <= allowed:
        raise click.UsageError(
            f"the JSON object has a field other than {', '.join(sorted(allowed))}"
        )
    return fields
