"""Keeps the memory of a process near what it uses, and the collector from looking at it often.

glibc keeps most of what was freed for the next allocation, in a heap for each of several threads.
A restore allocates more than the state that it leaves, mostly in threads of librdkafka that end
with it.
"""

import ctypes
import gc
from collections.abc import Callable
from typing import Any, Final

_C_LIBRARY: Final = ctypes.CDLL(None)
# Other C libraries, such as musl and that of macOS, lack them.
_malloc_trim: Final[Callable[[int], Any] | None] = getattr(_C_LIBRARY, "malloc_trim", None)
_mallopt: Final[Callable[[int, int], Any] | None] = getattr(_C_LIBRARY, "mallopt", None)
_M_ARENA_MAX: Final = -8  # of malloc.h
# By default 8 for each processor. With two, a handler that restored the same partitions again and
# again kept its size; with the default it grew by 2 to 10 MiB. Restores took no longer, on two
# processors.
_HEAPS: Final = 2


def use_few_heaps() -> None:
    """Let all threads that are started from now on share few heaps, where the C library can."""
    if _mallopt is not None:
        _mallopt(_M_ARENA_MAX, _HEAPS)


def collect_rarely() -> None:
    """Let the collector of cycles run less often, for a process that works in batches.

    A batch makes many objects and no cycles. At the default thresholds the collector would scan it
    again and again: a tenth of a handler's time, a quarter of a projector's.
    """
    gc.set_threshold(100_000, 50, 50)


def release_free_memory() -> None:
    """Return what is free to the system, where the C library can; takes milliseconds."""
    if _malloc_trim is not None:
        _malloc_trim(0)
