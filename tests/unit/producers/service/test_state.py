"""A service that connects to Kafka in the background, without a broker."""

import asyncio
from collections.abc import Callable
from typing import Self

import pytest

from producers.service import state
from producers.service.state import CommandService
from runtime.settings import Settings
from schemas.errors import Misconfigured, RollbookError, Unavailable


def connecting(*failures: Exception) -> Callable[[Settings], object]:
    """Return a client that fails in these ways, one after the other, and then connects."""
    left = list(failures)

    class Client:
        def __init__(self, _settings: Settings) -> None:
            pass

        async def __aenter__(self) -> Self:
            if left:
                raise left.pop(0)
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

        async def check(self) -> None:
            pass

    return Client


@pytest.mark.parametrize(
    "failure",
    [
        Unavailable("Kafka is unavailable", code="kafka_unavailable"),
        Misconfigured("the topic users-commands is missing", code="missing_topic"),
        RuntimeError("can't start new thread"),
    ],
    ids=["unavailable", "misconfigured", "unexpected"],
)
def test_a_service_connects_after_any_failure(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """Until then it is not ready, and says why."""
    monkeypatch.setattr(state, "AsyncCommandClient", connecting(failure))
    slept: list[float] = []
    give_way = asyncio.sleep

    async def run() -> RollbookError:
        service = CommandService(Settings())
        pause, failed = asyncio.Event(), asyncio.Event()

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            failed.set()
            await pause.wait()

        monkeypatch.setattr(asyncio, "sleep", sleep)
        async with service.running(), asyncio.timeout(10):
            await failed.wait()
            with pytest.raises(RollbookError, match="nothing was sent") as unready:
                await service.check()
            pause.set()
            while service._client is None:
                await give_way(0)
            await service.check()
        return unready.value

    found = asyncio.run(run())
    assert isinstance(found, type(failure) if isinstance(failure, RollbookError) else Unavailable)
    assert len(slept) == 1
    assert 0 < slept[0] <= 5
