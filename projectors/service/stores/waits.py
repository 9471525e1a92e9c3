"""`Rollbook-After`: requests that wait until a read model shows what a command did.

One thread per read model looks at the checkpoint for all requests that wait for it, so a thousand
of them cost as much as one, and none of them occupies a connection that other requests need.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from projectors.service.stores.pool import Pool, busy
from projectors.versions.visibility import LiveVersion
from schemas.tokens import Token, parse_token

# Less than a request may take in all (`http_request_seconds`).
TIMEOUT_MAX_SECONDS: Final = 50.0
_WAITING_MOST: Final = 100  # see `projectors.service.stores.pool`
# Between two looks, doubling until another request comes.
_FIRST_PAUSE_SECONDS: Final = 0.002
_MAX_PAUSE_SECONDS: Final = 0.05
# Longer than Kafka takes to say that it is unavailable, and than a refresh of a large index.
_LOOK_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class _Waiting:
    token: Token
    timeout_seconds: float
    until: float
    shown: "asyncio.Future[None]"


class Waits:
    """Waits for read models. Use it from one event loop."""

    def __init__(self, partitions: int, open_live: Callable[[str], LiveVersion]) -> None:
        """`open_live` connects to nothing; it raises `Misconfigured` for an unknown read model."""
        self._partitions = partitions
        self._open_live = open_live
        self._models: dict[str, _Model] = {}

    async def wait(self, read_model: str, token: str, timeout_seconds: float) -> None:
        """Return once queries of `read_model` that start now see what `token` covers.

        Raises `NotInTime` (`not_visible_in_time`), `Rejected` (`invalid_token`), `Misconfigured`
        (`unknown_read_model`), `Unavailable` at once if its store or Kafka is down.
        """
        place = parse_token(token).within(self._partitions)
        if read_model not in self._models:
            self._models[read_model] = _Model(read_model, self._open_live)
        await self._models[read_model].wait(place, timeout_seconds)

    def close(self) -> None:
        """Close all connections."""
        for model in self._models.values():
            model.close()


class _Model:
    """The requests that wait for one read model."""

    def __init__(self, name: str, open_live: Callable[[str], LiveVersion]) -> None:
        self._name = name
        open_one = partial(open_live, name)
        server = f"the store of {name}"
        self._pool = Pool(server, open_one, threads=1, timeout_seconds=_LOOK_SECONDS)
        self._waiting: list[_Waiting] = []
        self._has_new = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def wait(self, token: Token, timeout_seconds: float) -> None:
        if len(self._waiting) >= _WAITING_MOST:
            raise busy(f"the read model {self._name}")
        shown = asyncio.get_running_loop().create_future()
        until = time.monotonic() + timeout_seconds
        self._waiting.append(_Waiting(token, timeout_seconds, until, shown))
        self._has_new.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look_often())
        await shown

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._pool.close()

    async def _look_often(self) -> None:
        pause_seconds = _FIRST_PAUSE_SECONDS
        while self._waiting:
            if self._has_new.is_set():
                pause_seconds = _FIRST_PAUSE_SECONDS
                self._has_new.clear()
            await self._look([one for one in self._waiting if not one.shown.done()])
            self._waiting = [one for one in self._waiting if not one.shown.done()]
            try:
                await asyncio.wait_for(self._has_new.wait(), pause_seconds)
            except TimeoutError:
                pause_seconds = min(2 * pause_seconds, _MAX_PAUSE_SECONDS)

    async def _look(self, waiting: list[_Waiting]) -> None:
        """Answer those that are shown, and those whose time is over."""
        try:
            answers = await self._pool.run(partial(_look_at, waiting))
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            answers = [error] * len(waiting)
        for one, answer in zip(waiting, answers, strict=True):
            if one.shown.done():  # its caller has gone away
                continue
            if isinstance(answer, Exception):
                one.shown.set_exception(answer)
            elif answer:
                one.shown.set_result(None)


def _look_at(waiting: Sequence[_Waiting], live: LiveVersion) -> list[bool | Exception]:
    """Return for each whether it is shown, or the error if its time is over."""
    shown = set(map(id, live.shown([one.token for one in waiting])))
    now = time.monotonic()
    return [
        id(one.token) in shown
        or (now >= one.until and live.not_in_time(one.token, one.timeout_seconds))
        for one in waiting
    ]
