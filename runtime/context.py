"""What a command gets from the root: its settings, and what only the other side can do for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from types import TracebackType
from typing import Concatenate, ParamSpec, Protocol, Self, TypeVar

import click

from runtime.settings import Settings, load_settings

P = ParamSpec("P")
R = TypeVar("R")


class Visibility(Protocol):
    """Waits until read models show what commands did.

    `projectors.versions.visibility` implements it. The command side may not import that, so the
    root command passes it in.
    """

    def wait(self, token: str, timeout_seconds: float, *, while_it_moves: bool = False) -> None:
        """Return once queries show what `token` covers.

        Raises `NotInTime`, and `Unavailable` if a store is away. With `while_it_moves` the time
        begins anew whenever a read model has come further.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Root:
    """What the root command tells every other.

    `config` is the TOML file that was named. `visible_in` returns a `Visibility` of the read models
    of these names; it raises `Misconfigured` if there is none of a name, and connects to nothing.
    """

    config: str | None
    visible_in: Callable[[Settings, Sequence[str]], Visibility]


def root() -> Root:
    """Return what the root of the command that runs has told."""
    told: Root = click.get_current_context().find_root().obj
    return told


def pass_settings(command: Callable[Concatenate[Settings, P], R]) -> Callable[P, R]:
    """Call `command` with the settings of `rollbook --config …` as its first argument.

    Raises `Misconfigured` before the command does anything.
    """

    def with_settings(*args: P.args, **kwargs: P.kwargs) -> R:
        return command(load_settings(config=root().config).settings, *args, **kwargs)

    return update_wrapper(with_settings, command)
