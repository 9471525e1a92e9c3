"""Send a command and get its answer: the public API of the write side for Python programs.

    from producers.client import AsyncCommandClient, CommandClient

`command_client` sends one command and waits, `async_client` sends many at once from an event loop,
`build` makes the records, `lookup` finds an answer later. Any package that sends commands may
import it; it never imports `domain` or `handler`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producers.client.async_client import AsyncCommandClient
    from producers.client.build import (
        change_email_command,
        create_command,
        delete_command,
        erase_command,
        update_command,
    )
    from producers.client.command_client import CommandClient
    from producers.client.lookup import CommandPlace, find_outcome
    from producers.client.outcomes import Outcome
    from producers.client.sent_command import SentCommand

__all__ = [
    "AsyncCommandClient",
    "CommandClient",
    "CommandPlace",
    "Outcome",
    "SentCommand",
    "change_email_command",
    "create_command",
    "delete_command",
    "erase_command",
    "find_outcome",
    "update_command",
]

_MODULES = {
    "AsyncCommandClient": "async_client",
    "CommandClient": "command_client",
    "CommandPlace": "lookup",
    "Outcome": "outcomes",
    "SentCommand": "sent_command",
    "find_outcome": "lookup",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: Kafka's client takes longer to import than a help page takes to print.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'build')}"), name)
