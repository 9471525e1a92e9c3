"""Send a command and get its answer: the public API of the write side for Python programs.

    from producers.client import CommandClient

`command_client` sends and waits, `build` makes the records, `outcomes` reads the answers. Any
package that sends commands may import it; it never imports `domain` or `handler`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producers.client.build import (
        change_email_command,
        create_command,
        delete_command,
        erase_command,
        update_command,
    )
    from producers.client.command_client import CommandClient
    from producers.client.outcomes import Outcome, find_outcome

__all__ = [
    "CommandClient",
    "Outcome",
    "change_email_command",
    "create_command",
    "delete_command",
    "erase_command",
    "find_outcome",
    "update_command",
]

_MODULES = {"CommandClient": "command_client", "Outcome": "outcomes", "find_outcome": "outcomes"}


def __getattr__(name: str) -> Any:
    # Loaded on first use: Kafka's client takes longer to import than a help page takes to print.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'build')}"), name)
