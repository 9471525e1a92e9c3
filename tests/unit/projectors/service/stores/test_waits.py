"""Any number of requests wait for a read model, and none of them for the others."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from projectors.service.stores.waits import Waits
from projectors.versions.visibility import LiveVersion
from schemas.errors import NotInTime, Rejected, Unavailable
from tests.unit.projectors.versions.memory_versions import MemoryVersions

PATIENCE_SECONDS = 30


@pytest.fixture
def versions() -> MemoryVersions:
    """A read model whose first version is live and has applied nothing."""
    versions = MemoryVersions()
    versions.begin()
    return versions


def waits_for(versions: MemoryVersions) -> Waits:
    return Waits(4, lambda _name: LiveVersion(versions, lambda _topic: "topic"))


def run(step: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(step, 2 * PATIENCE_SECONDS))


def test_each_wait_ends_when_its_own_token_is_shown(versions: MemoryVersions) -> None:
    async def steps() -> None:
        waits = waits_for(versions)
        many = [
            asyncio.create_task(waits.wait("memory", f"2:{seq}", PATIENCE_SECONDS))
            for seq in range(1, 101)
        ]
        await asyncio.sleep(0.01)
        versions.models[1].seqs = {2: 50}
        await asyncio.gather(*many[:50])
        assert versions.models[1].visible == {2: 50}
        assert not any(task.done() for task in many[50:])
        versions.models[1].seqs = {2: 100}
        await asyncio.gather(*many)
        waits.close()

    run(steps())


def test_a_wait_without_time_looks_once(versions: MemoryVersions) -> None:
    async def steps() -> None:
        waits = waits_for(versions)
        with pytest.raises(NotInTime) as late:
            await waits.wait("memory", "2:5", 0)
        assert late.value.code == "not_visible_in_time"
        versions.models[1].seqs = {2: 5}
        await waits.wait("memory", "2:5", 0)
        waits.close()

    run(steps())


def test_a_short_wait_is_not_held_up_by_a_long_one(versions: MemoryVersions) -> None:
    async def steps() -> None:
        waits = waits_for(versions)
        long = asyncio.create_task(waits.wait("memory", "2:5", PATIENCE_SECONDS))
        with pytest.raises(NotInTime):
            await waits.wait("memory", "2:5", 0.05)
        assert not long.done()
        long.cancel()
        versions.models[1].seqs = {2: 5}
        await waits.wait("memory", "2:5", PATIENCE_SECONDS)
        waits.close()

    run(steps())


@pytest.mark.parametrize("error", [Unavailable("it is down"), RuntimeError("a mistake")])
def test_an_error_ends_every_wait(versions: MemoryVersions, error: Exception) -> None:
    def fail() -> None:
        raise error

    async def steps() -> None:
        waits = waits_for(versions)
        versions.happens = fail
        many = (waits.wait("memory", "2:5", PATIENCE_SECONDS) for _ in range(3))
        ends = await asyncio.gather(*many, return_exceptions=True)
        assert [type(end) for end in ends] == [type(error)] * 3
        waits.close()

    run(steps())


@pytest.mark.parametrize("token", ["", "2", "2:0", "4:1", "2:5,"])
def test_a_token_that_cannot_be_is_refused(versions: MemoryVersions, token: str) -> None:
    async def steps() -> None:
        with pytest.raises(Rejected) as refused:
            await waits_for(versions).wait("memory", token, 1)
        assert refused.value.code == "invalid_token"

    run(steps())
