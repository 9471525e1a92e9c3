"""Gets of single users: those that arrive while a query is running share the next one.

A query costs the service far more than a row of its result: 64 concurrent callers get several
times as many users as with a query for each. A single caller never waits for others, because a
free connection takes its get at once. Queries run in the event loop itself: for one caller at a
time, handing each get to a thread and back took as long as the query.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from projectors.postgres.store.user_view import UserView
from projectors.postgres.users.queries import no_such_user
from projectors.service.stores.pool import busy
from schemas.identity import parse_user_id

_MOST_PER_QUERY: Final = 200
_WAITING_MOST: Final = 400  # see `projectors.service.stores.pool`
_Waiting = tuple[str, "asyncio.Future[UserView]"]


class Connection(Protocol):
    """What a query runs on; see `UserGets`."""

    async def get_users(self, user_ids: Sequence[str]) -> dict[str, UserView]:
        """Return user id → user, of those that exist."""

    async def close(self) -> None:
        """Close it."""


class Gets:
    """Reads single users over several connections. Use it from one event loop."""

    def __init__(self, connections: Sequence[Connection]) -> None:
        self._connections = connections
        self._free = list(connections)
        self._waiting: list[_Waiting] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, user_id: str) -> UserView:
        """Return a user as a query shows it that starts after the call.

        Raises `Rejected`: `user_not_found`, `invalid_command` if the id is not a UUID;
        `Unavailable`, with code `service_busy` if too many gets wait.
        """
        if len(self._waiting) >= _WAITING_MOST:
            raise busy("PostgreSQL")
        found: asyncio.Future[UserView] = asyncio.get_running_loop().create_future()
        self._waiting.append((parse_user_id(user_id), found))
        if self._free:
            task = asyncio.create_task(self._read_waiting(self._free.pop()))
            self._tasks.add(task)  # asyncio itself keeps no task alive
            task.add_done_callback(self._tasks.discard)
        return await found

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            await connection.close()

    async def _read_waiting(self, connection: Connection) -> None:
        try:
            while self._waiting:
                batch = self._waiting[:_MOST_PER_QUERY]
                del self._waiting[:_MOST_PER_QUERY]
                await _read(connection, batch)
        finally:
            self._free.append(connection)


async def _read(connection: Connection, batch: Sequence[_Waiting]) -> None:
    try:
        users = await connection.get_users([user_id for user_id, _ in batch])
    except BaseException as error:
        for _, found in batch:
            if not found.done():  # its caller has not gone away
                found.set_exception(error)
        if not isinstance(error, Exception):
            raise
        return
    for user_id, found in batch:
        if found.done():
            continue
        user = users.get(user_id)
        if user is None:
            found.set_exception(no_such_user(user_id))
        else:
            found.set_result(user)
