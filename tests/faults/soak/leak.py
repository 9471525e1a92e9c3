"""`python -m tests.faults.soak.leak KIND COMMAND…`: a `rollbook` process that leaks on purpose.

A soak with `--leak` runs its handlers and projectors in this way, and must find out.
"""

import os
import sys
import threading
import time
from typing import Any, Final

from scripts.cli import main

KINDS: Final = ("memory", "files", "threads")
_EVERY_SECONDS: Final = 0.5
_BYTES: Final = 100_000


def _leak(kind: str) -> None:
    kept: list[Any] = []
    while True:
        time.sleep(_EVERY_SECONDS)
        if kind == "memory":
            kept.append(bytearray(b"\1" * _BYTES))
        elif kind == "files":
            kept.append(os.open(__file__, os.O_RDONLY))
        else:
            threading.Thread(target=threading.Event().wait, daemon=True).start()


if __name__ == "__main__":
    threading.Thread(target=_leak, args=(sys.argv[1],), daemon=True).start()
    main(sys.argv[2:])
