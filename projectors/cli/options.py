"""What the command lines of several queries share."""

from collections.abc import Callable
from typing import Any, Final

import click

from runtime.command_line.terminal import Parsed
from schemas.fields.rules import AGE_MAX_YEARS
from schemas.identity import parse_user_id

USER_ID: Final = Parsed("id", parse_user_id)
_AGE: Final = click.IntRange(0, AGE_MAX_YEARS)


def age_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--min-age` and `--max-age`; together they mean every age by default."""
    least = click.option("--min-age", type=_AGE, default=0, help="From this age.")
    most = click.option(
        "--max-age", type=_AGE, default=AGE_MAX_YEARS, help="Up to this age, included."
    )
    return least(most(command))
