"""`rollbook users search`: find people in the Elasticsearch read model."""

import click

from projectors.elasticsearch.queries import LIMIT_MAX, search_users
from runtime.context import pass_settings
from runtime.settings import Settings
from runtime.terminal import json_option, print_json, print_table, say
from schemas.errors import Rejected


@click.command()
@click.argument("text", nargs=-1, required=True)
@click.option(
    "--limit",
    type=click.IntRange(1, LIMIT_MAX),
    default=10,
    show_default=True,
    help="The most users to show.",
)
@json_option
@pass_settings
def search(settings: Settings, text: tuple[str, ...], *, limit: int, as_json: bool) -> None:
    """Find users by name or e-mail, best first.

    Every word of TEXT must be found, typos and missing accents forgiven; the last word may be the
    beginning of one. Nothing found is no failure: the result is empty.

    \b
    Examples:
      rollbook users search jane doe
      rollbook users search jose --limit 50 --json
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    try:
        found = search_users(settings, " ".join(text), limit=limit)
    except Rejected as error:
        raise click.UsageError(f"{error}; {error.next_step}") from None
    if not found:
        say("nobody found")
    if as_json:
        for user in found:
            print_json(user)
        return
    if found:
        columns = ["user_id", "name", "email", "age", "score"]
        print_table(columns, ([user[column] for column in columns] for user in found))
