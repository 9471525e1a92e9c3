"""How a command gets its settings: one decorator, so that every command reads them the same way."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from runtime.settings import Settings, load_settings

P = ParamSpec("P")
R = TypeVar("R")


def pass_settings(command: Callable[Concatenate[Settings, P], R]) -> Callable[P, R]:
    """Call `command` with the settings of `rollbook --config …` as its first argument.

    Raises `Misconfigured` before the command does anything.
    """

    def with_settings(*args: P.args, **kwargs: P.kwargs) -> R:
        config: Any = click.get_current_context().find_root().obj
        return command(load_settings(config=config).settings, *args, **kwargs)

    return update_wrapper(with_settings, command)
