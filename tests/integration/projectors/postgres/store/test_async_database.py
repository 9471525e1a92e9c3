"""A connection for an event loop survives what a server does to it."""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from projectors.postgres.store.async_database import AsyncDatabase
from projectors.postgres.store.database import Database
from runtime.settings import Settings
from schemas.errors import Unavailable

NUMBER = b"SELECT %s::int AS number"
PID = b"SELECT pg_backend_pid() AS number"
SLEEP = b"SELECT 1 AS number FROM pg_sleep(60)"
END_ALL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND query LIKE '%%AS number'"
)


@dataclass(frozen=True, slots=True)
class Row:
    """What the queries here return."""

    number: int


def run(step: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(step, 60))


def test_a_query_that_takes_too_long_is_given_up_and_the_next_one_works(store: Settings) -> None:
    async def steps() -> None:
        database = AsyncDatabase(Database(store), timeout_seconds=1)
        assert await database.fetch(Row, NUMBER, (1,)) == [Row(1)]
        [before] = await database.fetch(Row, PID, ())
        began = time.monotonic()
        with pytest.raises(Unavailable) as late:
            await database.fetch(Row, SLEEP, ())
        assert late.value.code == "no_answer"
        assert time.monotonic() - began < 30
        [after] = await database.fetch(Row, PID, ())
        assert after != before
        await database.close()

    run(steps())


def test_a_caller_that_goes_away_leaves_no_query_behind(store: Settings) -> None:
    async def steps() -> None:
        database = AsyncDatabase(Database(store), timeout_seconds=50)
        await database.fetch(Row, NUMBER, (1,))
        query = asyncio.create_task(database.fetch(Row, SLEEP, ()))
        await asyncio.sleep(0.1)
        query.cancel()
        with pytest.raises(asyncio.CancelledError):
            await query
        assert await database.fetch(Row, NUMBER, (2,)) == [Row(2)]
        await database.close()

    run(steps())


def test_a_connection_that_the_server_ended_is_opened_again(store: Settings) -> None:
    async def steps() -> None:
        database = AsyncDatabase(Database(store), timeout_seconds=50)
        await database.fetch(Row, PID, ())
        other = Database(store)
        with other.session() as connection:
            connection.execute(END_ALL)
        other.close()
        with pytest.raises(Unavailable) as lost:
            await database.fetch(Row, NUMBER, (1,))
        assert lost.value.code == "postgres_unavailable"
        assert await database.fetch(Row, NUMBER, (2,)) == [Row(2)]
        await database.close()

    run(steps())
