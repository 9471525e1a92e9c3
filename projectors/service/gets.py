"""Gets of single users: those that arrive while a query is running share the next one.

A query costs the service far more than a row of its result: measured apart, 64 concurrent callers
get several times as many users. A single caller never waits for others, because a free thread takes
its get at once.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from projectors.postgres.store.user_view import UserView
from projectors.postgres.users.queries import UserQueries, no_such_user
from projectors.service.pools import Pool, busy
from schemas.identity import parse_user_id

THREADS: Final = 2
_MOST_PER_QUERY: Final = 200
_WAITING_MOST: Final = 400  # see `projectors.service.pools`
_Waiting = tuple[str, "asyncio.Future[UserView]"]


class Gets:
    """Reads single users through `pool`. Use it from one event loop."""

    def __init__(self, pool: Pool[UserQueries]) -> None:
        self._pool = pool
        self._waiting: list[_Waiting] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, user_id: str) -> UserView:
        """Return a user as a query shows it that starts after the call; see `UserQueries.get_user`.

        Raises what that does, and what `Pool.run` does.
        """
        if len(self._waiting) >= _WAITING_MOST:
            raise busy("PostgreSQL")
        found: asyncio.Future[UserView] = asyncio.get_running_loop().create_future()
        self._waiting.append((parse_user_id(user_id), found))
        if len(self._tasks) < THREADS:
            task = asyncio.create_task(self._read_waiting())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await found

    async def _read_waiting(self) -> None:
        while self._waiting:
            batch = self._waiting[:_MOST_PER_QUERY]
            del self._waiting[:_MOST_PER_QUERY]
            await self._read(batch)

    async def _read(self, batch: Sequence[_Waiting]) -> None:
        ids = [user_id for user_id, _ in batch]
        try:
            users = await self._pool.run(_users(ids))
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


def _users(ids: Sequence[str]) -> Callable[[UserQueries], dict[str, UserView]]:
    return lambda queries: queries.get_users(ids)
