"""Worker threads for the stores: a store that is slow or unavailable occupies only its own threads.

Our query classes block, so the event loop calls them in threads. A pool has few threads and a bound
on the calls that wait for one: beyond it a caller is refused at once instead of waiting longer and
longer. A call that takes too long is answered; its thread stays occupied until the store answers or
its connection fails, and if that happens to all of them, further calls are refused at once.

The service answers at most a thousand requests at once. All bounds together are lower for any one
store, so those that wait for a store that hangs leave room for the requests of the others.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Generic, Protocol, TypeVar

from schemas.errors import CHECK_SERVER, Unavailable

R = TypeVar("R")

TIMEOUT_SECONDS: Final = 10.0
_WAITING_PER_THREAD: Final = 25


class Closable(Protocol):
    """What a thread of a pool works with."""

    def close(self) -> None:
        """Close the connections."""


C = TypeVar("C", bound=Closable)


class Pool(Generic[C]):
    """Threads that each open a `C` on first use. Use it from one event loop.

    `server` names the store in errors.
    """

    def __init__(
        self,
        server: str,
        open_one: Callable[[], C],
        *,
        threads: int,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._server = server
        self._open_one = open_one
        self._most = threads * (1 + _WAITING_PER_THREAD)
        self._timeout_seconds = timeout_seconds
        self._own = threading.local()
        self._opened: list[C] = []
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=server)
        self._calls: set[Future[Any]] = set()

    async def run(self, call: Callable[[C], R]) -> R:
        """Return what `call` does with the `C` of a thread.

        Raises what it raises, and `Unavailable`: `service_busy` if too many calls wait, `no_answer`
        if it takes too long.
        """
        if len(self._calls) >= self._most:
            raise busy(self._server)
        running = self._executor.submit(self._run, call)
        self._calls.add(running)
        running.add_done_callback(self._calls.discard)
        try:
            # A call that has not begun is cancelled with the wait for it.
            return await asyncio.wait_for(asyncio.wrap_future(running), self._timeout_seconds)
        except TimeoutError:
            raise Unavailable(
                f"{self._server} did not answer within {self._timeout_seconds:g} s",
                code="no_answer",
                next_step=CHECK_SERVER,
            ) from None

    def close(self) -> None:
        """Close all connections; a call that is still running fails."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        for one in self._opened:
            one.close()

    def _run(self, call: Callable[[C], R]) -> R:
        if not hasattr(self._own, "one"):
            self._own.one = self._open_one()
            self._opened.append(self._own.one)
        return call(self._own.one)


def busy(server: str) -> Unavailable:
    """Return the error for a request that comes while too many others wait."""
    return Unavailable(
        f"too many requests wait for {server}",
        code="service_busy",
        next_step="try again later, with fewer requests at a time",
    )
