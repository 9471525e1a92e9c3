"""Gets share queries: none is lost, mixed up, or answered from before it was asked."""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from projectors.postgres.store.user_view import UserView
from projectors.service.stores.gets import Gets
from schemas.errors import Rejected, Unavailable

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
CONNECTIONS = 2
IDS = [f"0198c2d4-5f3a-7b21-9c4d-{number:012x}" for number in range(300)]


class Table:
    """Users in memory, read as `UserGets` reads them."""

    def __init__(self) -> None:
        self.versions = dict.fromkeys(IDS, 1)
        self.queries: list[int] = []
        self.fails: Exception | None = None
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def get_users(self, user_ids: Sequence[str]) -> dict[str, UserView]:
        seen = {user_id: self.versions[user_id] for user_id in user_ids if user_id in self.versions}
        self.queries.append(len(user_ids))
        self.asked.set()
        await self.may_answer.wait()
        if self.fails:
            raise self.fails
        return {
            user_id: UserView(user_id, "j@example.com", "Jane", 34, "adult", NOW, NOW, version)
            for user_id, version in seen.items()
        }

    async def close(self) -> None:
        """Do nothing."""


def run(step: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(step, 60))


def gets_from(table: Table) -> Gets:
    return Gets([table] * CONNECTIONS)


def test_many_gets_need_few_queries_and_each_gets_its_own_user() -> None:
    async def steps() -> None:
        table = Table()
        gets = gets_from(table)
        users = await asyncio.gather(*(gets.get(user_id) for user_id in IDS))
        assert [user.user_id for user in users] == IDS
        assert sum(table.queries) == len(IDS)
        assert len(table.queries) <= 1 + CONNECTIONS * len(IDS) // 200 + 1

    run(steps())


def test_a_get_is_answered_by_a_query_that_began_after_it() -> None:
    async def steps() -> None:
        table = Table()
        gets = gets_from(table)
        table.may_answer.clear()
        before = [asyncio.create_task(gets.get(IDS[0])) for _ in range(CONNECTIONS)]
        await table.asked.wait()
        table.versions[IDS[0]] = 2
        after = asyncio.create_task(gets.get(IDS[0]))
        await asyncio.sleep(0.01)
        table.may_answer.set()
        await asyncio.gather(*before)
        assert (await after).version == 2

    run(steps())


def test_a_missing_user_and_a_wrong_id_concern_only_their_callers() -> None:
    async def steps() -> None:
        gets = gets_from(Table())
        missing = "0198c2d4-5f3a-7b21-9c4d-8e2f1a6b7c90"
        many = (gets.get(user_id) for user_id in (IDS[0], missing, "x", IDS[1].upper()))
        found = await asyncio.gather(*many, return_exceptions=True)
        assert isinstance(found[0], UserView)
        codes = [error.code for error in found if isinstance(error, Rejected)]
        assert codes == ["user_not_found", "invalid_command"]
        assert isinstance(found[3], UserView)

    run(steps())


def test_an_error_reaches_everyone_who_asked_and_nobody_later() -> None:
    async def steps() -> None:
        table = Table()
        gets = gets_from(table)
        table.fails = Unavailable("it is down")
        many = (gets.get(user_id) for user_id in IDS[:10])
        ends = await asyncio.gather(*many, return_exceptions=True)
        assert all(isinstance(end, Unavailable) for end in ends)
        table.fails = None
        assert (await gets.get(IDS[3])).user_id == IDS[3]

    run(steps())


def test_a_caller_that_goes_away_disturbs_nobody() -> None:
    async def steps() -> None:
        table = Table()
        gets = gets_from(table)
        table.may_answer.clear()
        tasks = [asyncio.create_task(gets.get(user_id)) for user_id in IDS[:20]]
        await asyncio.sleep(0.01)
        for task in tasks[::2]:
            task.cancel()
        table.may_answer.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(one, UserView) for one in found] == [False, True] * 10

    run(steps())


@pytest.mark.parametrize("count", [1, 3])
def test_a_single_get_waits_for_nobody(count: int) -> None:
    async def steps() -> None:
        table = Table()
        gets = gets_from(table)
        for user_id in IDS[:count]:
            await gets.get(user_id)
        assert table.queries == [1] * count

    run(steps())
