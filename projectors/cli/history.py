"""`rollbook users history`: everything that happened to a user, from the read model `history`."""

import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import click

from projectors.cli.options import USER_ID
from projectors.command_line.after_option import wait_for_token
from projectors.history.queries import EventStore, event_fields
from projectors.log.times import iso_time
from runtime.command_line.context import pass_settings
from runtime.command_line.terminal import json_option, print_json, print_table, say
from runtime.settings import Settings
from schemas.records import UserEvent, changes_of

_COLUMNS = ["version", "time", "type", "command_id", "field", "before", "after", "issued_by"]


@click.command()
@click.argument("user_id", metavar="ID", type=USER_ID)
@click.option(
    "--from-version",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Start with this version.",
)
@json_option
@pass_settings
@wait_for_token("history")
def history(settings: Settings, user_id: str, *, from_version: int, as_json: bool) -> None:
    """Show everything that happened to a user, oldest first: each field before and after.

    The last column is who asked, if the client said so and the log has it (docs/upgrading.md).
    For an erased user, only the erasure is left. Exits with 3 if no user ever had that id.

    \b
    Examples:
      rollbook users history 0198c2d4-5f3a-7b21-9c4d-8e2f1a6b7c90
      rollbook users history 0198c2d4-5f3a-7b21-9c4d-8e2f1a6b7c90 --from-version 3 --json
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    with closing(EventStore(settings)) as store:
        events = store.get_events(user_id, from_version)
    if not events:
        say(f"no events from version {from_version} on")
    if as_json:
        for event in events:
            print_json(event_fields(event))
    elif events:
        once = sys.stdout.isatty()  # programs get every column of every line
        print_table(_COLUMNS, (row for event in events for row in rows_of(event, once=once)))


def rows_of(event: UserEvent, *, once: bool) -> Iterator[list[Any]]:
    """Yield a row for each field that changed; with `once` only the first names the event."""
    what = [
        event["version"],
        iso_time(event["occurred_at"]),
        event["type"],
        event["command_id"],
    ]
    changes = changes_of(event)
    issuer = event["issued_by"]
    if not changes:
        yield [*what, None, None, None, issuer]
    for number, change in enumerate(changes):
        follows = once and number > 0
        named = [None] * len(what) if follows else what
        fields = (change["field"], change["before"], change["after"])
        yield [*named, *fields, None if follows else issuer]
