"""Handlers without one of their protections: a run must notice what is missing.

Two are made for real clients. The others are those of the simulation that replace parts of the
product only.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from runtime.kafka import client_classes
from tests.simulation import saboteurs as simulated
from tests.simulation.simulated.virtual_time import Replacement


def commit_offsets_first() -> None:
    """Commit the offsets before the transaction that belongs to them, and outside of it."""

    def send(self: Any, offsets: Any, metadata: Any, *_: Any) -> None:
        consumers[-1].commit(offsets=offsets, asynchronous=False)

    consumers: list[client_classes.Consumer] = []
    original = client_classes.Consumer.subscribe

    def subscribe(self: Any, *arguments: Any, **options: Any) -> Any:
        consumers.append(self)
        return original(self, *arguments, **options)

    client_classes.Consumer.subscribe = subscribe  # type: ignore[method-assign]
    setattr(client_classes.Producer, "send_offsets_to_transaction", send)  # noqa: B010 - for mypy


def read_uncommitted() -> None:
    """Read records of open and of aborted transactions too."""
    original = client_classes.Consumer.__init__

    def init(self: Any, config: dict[str, Any]) -> None:
        original(self, config | {"isolation.level": "read_uncommitted"})

    client_classes.Consumer.__init__ = init  # type: ignore[method-assign]


def _replace(replacements: list[Replacement]) -> None:
    for where, name, value in replacements:
        setattr(where, name, value)


def _borrowed() -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the saboteurs of the simulation that a real handler can have."""
    for name, replacements in simulated.SABOTEURS.items():
        owners = [getattr(where, "__module__", where.__name__) for where, _, _ in replacements]
        if all(owner.startswith("producers.") for owner in owners):
            yield name, partial(_replace, replacements)


SABOTEURS: Final[dict[str, Callable[[], None]]] = {
    **dict(_borrowed()),
    "offsets outside the transaction": commit_offsets_first,
    "uncommitted records are read": read_uncommitted,
}
