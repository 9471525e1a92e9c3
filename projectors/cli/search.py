"""`rollbook users search | suggest`: find people in the Elasticsearch read model."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final

import click

from projectors.cli.options import age_options
from projectors.command_line.after_option import wait_for_token
from projectors.elasticsearch.search.facets import Facets
from projectors.elasticsearch.search.highlights import unescaped
from projectors.elasticsearch.search.queries import LIMIT_MAX, UserSearch, user_fields
from projectors.elasticsearch.search.request import AGE_GROUPS, SORTS, Search
from runtime.command_line.context import pass_settings
from runtime.command_line.terminal import Marked, json_option, print_json, print_table, say
from runtime.settings import Settings
from schemas.errors import Rejected

# The column that is shown in addition, because users are sorted by it.
_SORTED_BY: Final = {"relevance": "score", "created": "created_at", "updated": "updated_at"}

_limit_option = click.option(
    "--limit",
    type=click.IntRange(1, LIMIT_MAX),
    default=10,
    show_default=True,
    help="The most users to show.",
)


@contextmanager
def _usage() -> Iterator[None]:
    """Turn a rejected query into a usage error."""
    try:
        yield
    except Rejected as error:
        raise click.UsageError(f"{error}; {error.next_step}") from None


def _search_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        (
            click.option(
                "--age-group",
                "age_groups",
                type=click.Choice(AGE_GROUPS),
                multiple=True,
                help="Only this age group; may be repeated.",
            ),
            click.option(
                "--sort",
                type=click.Choice(SORTS),
                default="relevance",
                show_default=True,
                help="Best match first, by name or age, or newest first.",
            ),
            click.option("--reverse", is_flag=True, help="Reverse the order."),
            click.option("--highlight", is_flag=True, help="Mark the matching parts."),
            click.option(
                "--facets", is_flag=True, help="Count all matches, by age and e-mail domain."
            ),
        )
    ):
        command = option(command)
    return command


@click.command()
@click.argument("text", nargs=-1)
@age_options
@_search_options
@_limit_option
@click.option(
    "--cursor", help="Continue after this cursor of the previous page, within five minutes."
)
@click.option("--all", "show_all", is_flag=True, help="Show all matches, as a stream.")
@json_option
@pass_settings
@wait_for_token("elasticsearch")
def search(
    settings: Settings,
    *,
    text: tuple[str, ...],
    limit: int,
    cursor: str | None,
    show_all: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Find users by name or e-mail, best first.

    Every word of TEXT must match, as a whole or as a prefix; accents, typos and the order of words
    do not matter. Without TEXT, all users that fit the options are listed. If nothing matches, the
    result is empty and the exit code is 0.

    With --json, highlights are HTML: the matching parts are in <em>, everything else is escaped.
    Every user of a page has the same `cursor` if there is a next page: pass it to
    --cursor. --facets adds a last line {"facets": …}.

    \b
    Examples:
      rollbook users search jnae doe
      rollbook users search jose --min-age 30 --highlight
      rollbook users search --age-group teen --sort created --all --json
      rollbook users search smith --facets
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    if show_all and (cursor is not None or asked["facets"]):
        raise click.UsageError("--all goes with neither --cursor nor --facets")
    with _usage(), UserSearch(settings) as connection:
        wanted = Search(" ".join(text).strip(), **asked)
        if wanted == Search(highlight=wanted.highlight):
            raise click.UsageError("give a TEXT to find, or an option that filters or sorts")
        if show_all:
            _print_users(connection.every_user(wanted), wanted, None, as_json=as_json)
            return
        page = connection.page(wanted, limit=limit, cursor=cursor)
    _print_users(page.users, wanted, page.next, as_json=as_json)
    if page.facets:
        _print_facets(page.facets, as_json=as_json)
    if not page.users:
        say("no users found")
    if page.next:
        say(f"there are more: --cursor {page.next}, or --all")


@click.command()
@click.argument("prefix", nargs=-1, required=True)
@_limit_option
@json_option
@pass_settings
@wait_for_token("elasticsearch")
def suggest(settings: Settings, *, prefix: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Suggest users while PREFIX is typed: the beginning of a name, an address, or several.

    \b
    Examples:
      rollbook users suggest ja
      rollbook users suggest jane.d --limit 5 --json
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    with _usage(), UserSearch(settings) as connection:
        found = connection.suggest_users(" ".join(prefix), limit=limit)
    if as_json:
        for user in found:
            print_json(user)
    elif found:
        print_table(
            ["name", "email", "user_id"], ((u["name"], u["email"], u["user_id"]) for u in found)
        )
    if not found:
        say("no users found")


def _print_users(
    users: Iterable[dict[str, Any]], asked: Search, cursor: str | None, *, as_json: bool
) -> None:
    shown = map(user_fields, users)
    if as_json:
        for user in shown:
            print_json(user | {"cursor": cursor} if cursor else user)
        return
    columns = ["user_id", "name", "email", "age"]
    if asked.has_text or asked.sort != "relevance":
        columns += filter(None, [_SORTED_BY.get(asked.sort)])
    print_table(columns, ([_cell(user, column) for column in columns] for user in shown))


def _cell(user: dict[str, Any], column: str) -> Any:
    marked = user.get("highlights", {}).get(column)
    return Marked(unescaped(marked)) if marked else user[column]


def _print_facets(facets: Facets, *, as_json: bool) -> None:
    if as_json:
        print_json({"facets": asdict(facets)})
        return
    rows = [
        *(("age group", group, count) for group, count in facets.age_groups.items()),
        *(("age", years, count) for years, count in facets.ages.items()),
        *(("e-mail domain", domain, count) for domain, count in facets.email_domains.items()),
        ("e-mail domain", "others", facets.other_domains),
        ("all", "", facets.total),
    ]
    click.echo()
    print_table(["facet", "value", "users"], rows)
