"""The options that make a query wait for a command's token: `--after` and `--timeout`."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar

import click

from runtime.command_line.context import Visibility
from runtime.command_line.terminal import Parsed, Seconds
from runtime.settings import Settings
from schemas.errors import Rejected
from schemas.tokens import WAIT_SECONDS, parse_token

R = TypeVar("R")

_TIMEOUT_MAX_SECONDS = 86_400


def wait_for_token(
    model: str | Callable[[Mapping[str, Any]], str],
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Add `--after TOKEN` to a query: it waits until the read model `model` has caught up to it.

    If other options decide which read model is queried, `model` is a function of their values.
    Place it directly under `pass_settings`.
    """

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @click.option(
            "--after",
            "token",
            type=Parsed("token", lambda text: str(parse_token(text))),
            metavar="TOKEN",
            help="Wait until the read model shows what a command did; TOKEN is from its answer.",
        )
        @click.option(
            "--timeout",
            "timeout_seconds",
            type=Seconds(min=0, max=_TIMEOUT_MAX_SECONDS),
            default=WAIT_SECONDS,
            show_default=True,
            metavar="SECONDS",
            help="How long to wait for --after.",
        )
        @wraps(command)
        def waiting(
            settings: Settings, *, token: str | None, timeout_seconds: float, **given: Any
        ) -> R:
            if token is not None:
                name = model if isinstance(model, str) else model(given)
                _wait(settings, name, token, timeout_seconds)
            return command(settings, **given)

        return waiting

    return decorate


def visible_in(settings: Settings, names: Sequence[str]) -> Visibility:
    """Return a wait for the named read models, as `Root` asks for."""
    # Imported only here: it needs Kafka's client, and a query without a token does not.
    from projectors.versions import visibility

    return visibility.Visibility(settings, names)


def _wait(settings: Settings, name: str, token: str, timeout_seconds: float) -> None:
    with visible_in(settings, [name]) as visibility:
        try:
            visibility.wait(token, timeout_seconds)
        except Rejected as error:
            raise click.UsageError(f"--after: {error}; {error.next_step}") from None
