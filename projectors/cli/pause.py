"""`rollbook projector pause | resume`: stop the projectors of a read model without ending them."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import click

from projectors.catalog import open_versions
from projectors.cli.versions import name_argument
from runtime.command_line.context import pass_settings
from runtime.command_line.terminal import say
from runtime.settings import Settings


def _version_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--version",
        "number",
        metavar="VERSION",
        type=click.IntRange(1),
        help="Only this version; without it, every version that is ready.",
    )(command)


@click.command()
@name_argument
@_version_option
@pass_settings
def pause(settings: Settings, name: str, number: int | None) -> None:
    """Make all projectors of a read model stop applying events until `resume`.

    They keep running and stay in their group, on every machine; those that start later wait too.
    Each ends the batch that it is writing, so the pause begins within a few seconds. Queries are
    still answered, from what was applied before: users who are erased during a pause stay in the
    read model until it is resumed. A version that is paused cannot be made live.

    \b
    Examples:
      rollbook projector pause postgres
      rollbook projector pause postgres --version 2
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    _set_paused(settings, name, number, paused=True)


@click.command()
@name_argument
@_version_option
@pass_settings
def resume(settings: Settings, name: str, number: int | None) -> None:
    """Let the projectors of a read model continue where they were paused.

    \b
    Example:
      rollbook projector resume postgres
    """  # noqa: D301 - \b is click's mark for "do not rewrap"
    _set_paused(settings, name, number, paused=False)


def _set_paused(settings: Settings, name: str, number: int | None, *, paused: bool) -> None:
    from projectors.versions.pause import set_paused

    with closing(open_versions(settings, name)) as found:
        for one in set_paused(found, number, paused=paused):
            say(f"version {one} of {name} is {'paused' if paused else 'no longer paused'}")
