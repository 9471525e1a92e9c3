"""`rollbook users get | list | summary`: queries of the PostgreSQL read model."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import click

from projectors.cli.options import USER_ID, age_options
from projectors.command_line.after_option import wait_for_token
from projectors.history.queries import EventStore
from projectors.log.times import iso_time, parse_time
from projectors.postgres.store.user_view import UserView
from projectors.postgres.users.queries import (
    MOST_PER_PAGE,
    UserPage,
    UserQueries,
    parse_cursor,
    write_cursor,
)
from runtime.command_line.context import pass_settings
from runtime.command_line.terminal import (
    Parsed,
    json_option,
    print_fields,
    print_json,
    print_table,
    say,
)
from runtime.settings import Settings

_PAGE_OF_ALL = 1000
_TIME = Parsed("time", lambda text: parse_time(text, datetime.now(UTC)))


def _checked_cursor(text: str) -> str:
    parse_cursor(text)
    return text


def _model_of_get(options: Mapping[str, Any]) -> str:
    at_a_point = (options["at_version"], options["at_time"]) != (None, None)
    return "history" if at_a_point else "postgres"


@click.command()
@click.argument("user_id", metavar="ID", type=USER_ID)
@click.option(
    "--at-version", type=click.IntRange(1), metavar="N", help="As the user was at this version."
)
@click.option(
    "--at",
    "at_time",
    type=_TIME,
    metavar="TIME",
    help="As the user was at this time: ISO 8601 (UTC without a zone), or how long ago: 10m, 2d.",
)
@json_option
@pass_settings
@wait_for_token(_model_of_get)
def get(
    settings: Settings,
    user_id: str,
    *,
    at_version: int | None,
    at_time: datetime | None,
    as_json: bool,
) -> None:
    """Show one user, as of now or an earlier time. Exits with 3 if the user did not exist then.

    \b
    Examples:
      rollbook users get 0198c2d4-5f3a-7b21-9c4d-8e2f1a6b7c90
      rollbook users get 0198c2d4-5f3a-7b21-9c4d-8e2f1a6b7c90 --at-version 2
      rollbook users get 0198c2d4-5f3a-7b21-9c4d-8e2f1a6b7c90 --at 2026-11-24T10:00:00Z
      rollbook users get 0198c2d4-5f3a-7b21-9c4d-8e2f1a6b7c90 --after 3:17
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    if at_version is not None and at_time is not None:
        raise click.UsageError("give --at-version or --at, not both")
    if at_version is None and at_time is None:
        with closing(UserQueries(settings)) as queries:
            user = queries.get_user(user_id)
    else:
        with closing(EventStore(settings)) as store:
            if at_version is not None:
                user = store.get_user_at_version(user_id, at_version)
            elif at_time is not None:
                user = store.get_user_at(user_id, at_time)
    (print_json if as_json else print_fields)(user.as_json())


@click.command("list")
@age_options
@click.option(
    "--limit",
    type=click.IntRange(1, MOST_PER_PAGE),
    default=100,
    show_default=True,
    help="The most users to show.",
)
@click.option(
    "--cursor",
    type=Parsed("cursor", _checked_cursor),
    help="Continue after this cursor of an earlier list.",
)
@click.option("--all", "show_all", is_flag=True, help="Show all users, as a stream.")
@json_option
@pass_settings
@wait_for_token("postgres")
def list_users(
    settings: Settings,
    *,
    min_age: int,
    max_age: int,
    limit: int,
    cursor: str | None,
    show_all: bool,
    as_json: bool,
) -> None:
    """List users by age, then id.

    With --json every user has a `cursor`: pass that of the last user to --cursor for the next page.

    \b
    Examples:
      rollbook users list --min-age 20 --max-age 29
      rollbook users list --all --json > users.ndjson
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    if min_age > max_age:
        raise click.UsageError("--min-age is more than --max-age")
    with closing(UserQueries(settings)) as queries:
        page = queries.get_users_by_age_range(
            min_age, max_age, limit=_PAGE_OF_ALL if show_all else limit, after=cursor
        )
        users = _from(page, queries, max_age) if show_all else page.users
        _print_users(users, as_json=as_json)
    if page.next is not None and not show_all:
        say(f"there are more: --cursor {page.next}, or --all")


def _from(page: UserPage, queries: UserQueries, max_age: int) -> Iterator[UserView]:
    """Yield the users of `page` and of all pages after it, with one page in memory at a time."""
    yield from page.users
    while page.next is not None:
        page = queries.get_users_by_age_range(max_age=max_age, limit=_PAGE_OF_ALL, after=page.next)
        yield from page.users


def _print_users(users: Iterable[UserView], *, as_json: bool) -> None:
    if as_json:
        for user in users:
            print_json(user.as_json() | {"cursor": write_cursor(user)})
        return
    columns = ["user_id", "name", "email", "age", "group", "updated", "version"]
    print_table(
        columns,
        (
            (u.user_id, u.name, u.email, u.age, u.age_group, iso_time(u.updated_at), u.version)
            for u in users
        ),
    )


@click.command()
@json_option
@pass_settings
@wait_for_token("postgres")
def summary(settings: Settings, *, as_json: bool) -> None:
    """Show the number of users, their average age and their age groups.

    \b
    Example:
      rollbook users summary --json
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    with closing(UserQueries(settings)) as queries:
        found = queries.get_user_summary()
    shown = found.as_json()
    if as_json:
        print_json(shown)
        return
    groups = shown.pop("users_by_age_group")
    shown["average_age"] = None if found.average_age is None else f"{found.average_age:.1f}"
    print_fields({**shown, **groups})
