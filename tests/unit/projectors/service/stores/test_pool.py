"""A slow or broken store occupies its own threads and nothing else."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from projectors.service.stores.pool import Pool
from schemas.errors import Rejected, Unavailable


class Connection:
    """What a thread works with: counts itself, and blocks until it is let go."""

    opened = 0

    def __init__(self) -> None:
        Connection.opened += 1
        self.closed = False
        self.thread = threading.get_ident()

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def none_opened() -> None:
    Connection.opened = 0


def run(step: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(step, 60))


def pool_of(threads: int, timeout_seconds: float = 30) -> Pool[Connection]:
    return Pool("the store", Connection, threads=threads, timeout_seconds=timeout_seconds)


def test_each_thread_opens_one_connection_and_keeps_it() -> None:
    async def steps() -> None:
        pool = pool_of(threads=2)
        calls = (pool.run(lambda one: (one.thread, threading.get_ident())) for _ in range(50))
        threads = await asyncio.gather(*calls)
        assert all(opened_in == used_in for opened_in, used_in in threads)
        assert Connection.opened <= 2
        pool.close()

    run(steps())


def test_an_error_reaches_the_caller_and_the_thread_lives_on() -> None:
    def fail(_one: Connection) -> None:
        raise Rejected("no", code="user_not_found")

    async def steps() -> None:
        pool = pool_of(threads=1)
        with pytest.raises(Rejected):
            await pool.run(fail)
        assert await pool.run(lambda _one: 1) == 1
        pool.close()

    run(steps())


def test_a_call_that_hangs_is_answered_in_time_and_more_are_refused_at_once() -> None:
    answered = threading.Event()

    async def steps() -> None:
        pool = pool_of(threads=1, timeout_seconds=0.05)
        with pytest.raises(Unavailable) as late:
            await pool.run(lambda _one: answered.wait(60))
        assert late.value.code == "no_answer"
        assert str(late.value) == "the store did not answer within 0.05 s"
        refused = await asyncio.gather(
            *(pool.run(lambda _one: None) for _ in range(200)), return_exceptions=True
        )
        codes = [error.code for error in refused if isinstance(error, Unavailable)]
        assert len(codes) == 200
        assert set(codes) == {"no_answer", "service_busy"}
        answered.set()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:  # the thread is free again
            try:
                assert await pool.run(lambda _one: 2) == 2
                break
            except Unavailable:
                await asyncio.sleep(0.01)
        else:
            pytest.fail("the thread stayed occupied")
        pool.close()

    run(steps())
