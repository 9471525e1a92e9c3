"""`python -m tests.examples.users_per_domain`: how many users each e-mail domain has."""

import sys
from contextlib import suppress
from typing import Final

import click

from projectors.command_line.after_option import answers_after
from projectors.contract.read_model import Dropped
from runtime.context import pass_settings
from runtime.settings import Settings
from runtime.terminal import json_option, print_json, print_table
from schemas.errors import Unavailable
from scripts.cli import COMMANDS, run
from tests.examples.domains import DomainVersions, transaction

_COUNTS: Final = """
SELECT domain, count(*) FROM users WHERE domain IS NOT NULL
GROUP BY domain ORDER BY count(*) DESC, domain LIMIT ?"""


def count_users(settings: Settings, most: int = 10) -> list[tuple[str, int]]:
    """Return the domains that have most users, and how many each has, all of one moment.

    Raises `Unavailable` (`read_model_missing`) if there is no such read model yet.
    """
    versions = DomainVersions(settings)
    while live := [version.number for version in versions.versions() if version.live]:
        with suppress(Dropped), transaction(versions.file(live[0]), "BEGIN") as lent:
            return lent.execute(_COUNTS, (most,)).fetchall()
        # Another went live, and this one was dropped: look again.
    raise Unavailable(
        "there is no read model domains",
        code="read_model_missing",
        next_step="`rollbook projector run domains` builds it",
    )


@click.command()
@click.option("--limit", type=click.IntRange(1), default=10, help="The most domains to show.")
@json_option
@pass_settings
@answers_after("domains")
def users_per_domain(settings: Settings, *, limit: int, as_json: bool) -> None:
    """Show how many users each e-mail domain has, those with most first."""
    found = count_users(settings, limit)
    if as_json:
        for domain, users in found:
            print_json({"domain": domain, "users": users})
    else:
        print_table(["domain", "users"], found)


if __name__ == "__main__":
    # With the settings, errors and exit codes of every other command.
    COMMANDS["users-per-domain"] = ("tests.examples.users_per_domain:users_per_domain", "")
    sys.exit(run(["users-per-domain", *sys.argv[1:]]))
