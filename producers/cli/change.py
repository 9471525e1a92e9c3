"""The commands that change a user's address, delete the user, or erase the user."""

import sys
from collections.abc import Iterator

import click

from producers.cli.sending import (
    Sending,
    expected_version_option,
    send,
    sending_options,
    user_id_argument,
)
from runtime.command_line.context import pass_settings
from runtime.command_line.terminal import say
from runtime.settings import Settings
from schemas.errors import Rejected
from schemas.topics import COMMANDS, EMAILS, EVENTS, HISTORY, HOPS, Topic

_HOUR_MS = 3_600_000
_HOURS_OF_TWO_DAYS = 48
# What each topic contains of an erased user until Kafka cleans it. Outcomes and dead letters
# contain nothing personal.
_KEPT_FOR_A_WHILE = (
    (EVENTS, "its last state"),
    (EMAILS, "an address that belongs to another partition"),
    (HISTORY, "every event of its history"),
    (COMMANDS, "the commands about this user"),
    (HOPS, "changes of address between partitions"),
)


@click.command("change-email")
@user_id_argument
@click.option("--email", metavar="NEW", help="The new address, unique among all users.")
@expected_version_option
@sending_options
@pass_settings
def change_email(
    settings: Settings,
    *,
    user_id: str,
    email: str | None,
    expected_version: int | None,
    how: Sending,
) -> None:
    """Give a user another e-mail address and wait for the answer.

    Rejected as user_already_exists if another user has the address, or gets it first. The old
    address can be registered again at once, or a moment later if the two addresses belong to
    different partitions.

    With - the fields are read as one JSON object from standard input: email, expected_version.

    \b
    Examples:
      rollbook users change-email ID --email jane.roe@example.com
      echo '{"email": "jane.roe@example.com"}' | rollbook users change-email ID -
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    fields = how.fields(email=email, expected_version=expected_version)
    if not how.stdin and email is None:
        raise click.UsageError("give --email, or - to read JSON")
    from producers.client import change_email_command

    send(settings, change_email_command(user_id, **fields), how)


@click.command()
@user_id_argument
@expected_version_option
@sending_options
@pass_settings
def delete(
    settings: Settings,
    *,
    user_id: str,
    expected_version: int | None,
    how: Sending,
) -> None:
    """Delete a user and wait for the answer.

    The user disappears from every query and its address can be registered again, by a new user. The
    history is kept: `rollbook users erase` removes it too, now or later.

    With - expected_version and command_id are read as one JSON object from standard input.

    \b
    Examples:
      rollbook users delete ID
      rollbook users delete ID --expected-version 3
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    fields = how.fields(expected_version=expected_version)
    from producers.client import delete_command

    send(settings, delete_command(user_id, **fields), how)


@click.command()
@user_id_argument
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@expected_version_option
@sending_options
@pass_settings
def erase(
    settings: Settings,
    *,
    user_id: str,
    yes: bool,
    expected_version: int | None,
    how: Sending,
) -> None:
    """Erase a user, live or deleted, with all of its history, and wait for the answer.

    This cannot be undone. On a terminal, the command says what will be removed and when, and asks
    for confirmation; otherwise --yes is required. The id and the time of the erasure are kept.

    With - expected_version and command_id are read as one JSON object from standard input.

    \b
    Examples:
      rollbook users erase ID
      rollbook users erase ID --yes --expected-version 3
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    # With - standard input is the JSON object, so it cannot be the answer.
    may_ask = not how.stdin and sys.stdin.isatty() and sys.stderr.isatty()
    if not yes and not may_ask:
        raise click.UsageError("an erasure cannot be undone: confirm it with --yes")
    fields = how.fields(expected_version=expected_version)
    from producers.client import erase_command

    command = erase_command(user_id, **fields)
    if not yes:
        _confirm(user_id)
    send(settings, command, how)


def _confirm(user_id: str) -> None:
    """List what is removed and when, and ask. Raises `Rejected` (`not_confirmed`) on a no."""
    say(f"This erases user {user_id} and its whole history. It cannot be undone. Removed:")
    for bound, what in removal_times():
        say(f"  {bound:<16}  {what}")
    say("Kept: its id and the time of the erasure.")
    if not click.confirm("Erase it?", err=True):
        raise Rejected("nothing was erased", code="not_confirmed")


def removal_times() -> Iterator[tuple[str, str]]:
    """Yield how soon each part of an erased user is removed, and which part; soonest first.

    The times follow from the topics' definitions.
    """
    yield "at once", "from every query; the address can be registered again"
    for topic, what in sorted(_KEPT_FOR_A_WHILE, key=lambda kept: _bound_hours(kept[0])):
        hours = _bound_hours(topic)
        bound = f"{hours} hours" if hours < _HOURS_OF_TWO_DAYS else f"{-(-hours // 24)} days"
        yield f"within {bound}", f"from {topic.name}: {what}"


def _bound_hours(topic: Topic) -> int:
    """Return within how many hours Kafka removes a superseded or expired record from `topic`.

    Kafka cleans and deletes only closed segments, so the time until a segment closes is added.
    """
    until_cleaned = topic.config.get("max.compaction.lag.ms") or topic.config["retention.ms"]
    until_closed = topic.config["segment.ms"]
    return -(-(int(until_cleaned) + int(until_closed)) // _HOUR_MS)
