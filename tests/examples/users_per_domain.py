"""`python -m tests.examples.users_per_domain`: how many users each e-mail domain has."""

import sys
from contextlib import suppress
from typing import Final

import click

from projectors.command_line import (
    json_option,
    pass_settings,
    print_json,
    print_table,
    run,
    wait_for_token,
)
from projectors.contract import Dropped, Settings, Unavailable
from tests.examples.domains import DomainVersions, transaction

_COUNTS: Final = """
SELECT domain, count(*) FROM users WHERE domain IS NOT NULL
GROUP BY domain ORDER BY count(*) DESC, domain LIMIT ?"""


def count_users(settings: Settings, limit: int = 10) -> list[tuple[str, int]]:
    """Return the domains with most users and the number of each, from one snapshot.

    Raises `Unavailable` (`read_model_missing`) if the read model does not exist yet.
    """
    versions = DomainVersions(settings)
    while live := [version.number for version in versions.versions() if version.live]:
        with suppress(Dropped), transaction(versions.file(live[0]), "BEGIN") as connection:
            return connection.execute(_COUNTS, (limit,)).fetchall()
        # Another version went live, and this one was dropped: look again.
    raise Unavailable(
        "there is no read model domains",
        code="read_model_missing",
        next_step="`rollbook projector run domains` builds it",
    )


@click.command()
@click.option("--limit", type=click.IntRange(1), default=10, help="The most domains to show.")
@json_option
@pass_settings
@wait_for_token("domains")
def users_per_domain(settings: Settings, *, limit: int, as_json: bool) -> None:
    """Show how many users each e-mail domain has, those with most first."""
    found = count_users(settings, limit)
    if as_json:
        for domain, users in found:
            print_json({"domain": domain, "users": users})
    else:
        print_table(["domain", "users"], found)


if __name__ == "__main__":
    sys.exit(run(users_per_domain))
