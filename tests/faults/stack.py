"""The stack on which a command of this folder runs."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from scripts.stack.native.local import LocalStack
from tests.conftest import start_stack


@contextmanager
def named_or_own_stack(name: str | None, purpose: str) -> Iterator[LocalStack]:
    """Yield the stack with this name, and leave it running; without a name, one that is removed.

    SIGTERM ends the `with` block as an error does.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    stack = start_stack(name or f"{purpose}-{os.getpid()}")  # as it is, if it runs
    try:
        yield stack
    finally:
        if not name:
            stack.down(wipe=True)
