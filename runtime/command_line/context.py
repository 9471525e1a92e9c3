"""What the root command passes to every other: the settings, and the wait for read models."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from typing import Concatenate, ParamSpec, Protocol, Self, TypeVar

import click

from runtime.settings import Settings, load_settings

P = ParamSpec("P")
R = TypeVar("R")


class Visibility(Protocol):
    """Waits until read models show the effect of commands.

    `projectors.versions.visibility` implements it. `producers` may not import that, so the root
    command passes it in.
    """

    def wait(self, token: str, timeout_seconds: float, *, extend_on_progress: bool = False) -> None:
        """Return once queries show what `token` covers.

        Raises `NotInTime`, and `Unavailable` if a store is unavailable. With `extend_on_progress`
        the timeout starts again whenever a read model makes progress.
        """

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Root:
    """What the root command passes to every other.

    `config` is the argument of `--config`. `visible_in` returns a `Visibility` of the named read
    models without connecting to anything; it raises `Misconfigured` for an unknown name.
    """

    config: str | None
    visible_in: Callable[[Settings, Sequence[str]], Visibility]


def root() -> Root:
    """Return the `Root` of the command that is running."""
    passed: Root = click.get_current_context().find_root().obj
    return passed


def pass_settings(command: Callable[Concatenate[Settings, P], R]) -> Callable[P, R]:
    """Call `command` with the settings of `rollbook --config …` as its first argument.

    Raises `Misconfigured`, before the command does anything, if a setting is invalid.
    """

    def with_settings(*args: P.args, **kwargs: P.kwargs) -> R:
        settings = load_settings(config=root().config).settings
        if settings.special_use_domains:
            # Imported only here: most commands need no rules and start quickly.
            from schemas.fields.rules import permit_special_use

            permit_special_use(settings.special_use_domains)
        return command(settings, *args, **kwargs)

    return update_wrapper(with_settings, command)
