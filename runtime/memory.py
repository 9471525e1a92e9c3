"""Returns memory that a process no longer needs to the system.

glibc keeps most of what was freed for the next allocation, in a heap for each of several threads.
A restore allocates more than the state that it leaves, mostly in threads of librdkafka that end
with it.
"""

import ctypes
from collections.abc import Callable
from typing import Any, Final

# Other C libraries, such as musl and that of macOS, lack it.
_malloc_trim: Final[Callable[[int], Any] | None] = getattr(ctypes.CDLL(None), "malloc_trim", None)


def release_free_memory() -> None:
    """Return what is free to the system, where the C library can; takes milliseconds."""
    if _malloc_trim is not None:
        _malloc_trim(0)
