"""Many commands in flight from one event loop, on real servers."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from producers.client import (
    AsyncCommandClient,
    CommandPlace,
    SentCommand,
    create_command,
    find_outcome,
    outcome_follower,
)
from runtime.settings import Settings
from schemas.errors import Misconfigured, NotInTime, Rejected
from schemas.topics import OUTCOMES
from tests.observed.log import assert_exactly_once, put
from tests.started.processes import Rollbook, RunningProcess, eventually

MANY = 300


def run(
    settings: Settings,
    test: Callable[[AsyncCommandClient], Coroutine[Any, Any, None]],
    **options: Any,
) -> None:
    """Run `test` with a client."""

    async def with_client() -> None:
        async with AsyncCommandClient(settings, **options) as client:
            await test(client)

    asyncio.run(with_client())


def email(number: int) -> str:
    return f"user{number}@example.com"


def test_each_of_many_callers_gets_its_own_answer(
    settings: Settings, handler: RunningProcess
) -> None:
    """With fewer places than callers; two of them with the same id, two with the same address."""

    async def test(client: AsyncCommandClient) -> None:
        created = await asyncio.gather(
            *(client.create_user(email(n), "Jane", 34, f"c-{n}") for n in range(MANY))
        )
        assert [outcome.command_id for outcome in created] == [f"c-{n}" for n in range(MANY)]
        assert len({outcome.user_id for outcome in created}) == MANY
        again, other, taken, changed = await asyncio.gather(
            client.create_user(email(0), "Jane", 34, "c-0"),
            client.create_user(email(0), "Other", 34, "c-0"),
            client.create_user(email(0), "Jane", 34),
            client.update_user(created[1].user_id, age=35, expected_version=1),
        )
        assert again.repeated
        assert again.as_fields() == created[0].as_fields()
        assert [other.code, taken.code] == ["command_id_reused", "user_already_exists"]
        assert (changed.accepted, changed.version) == (True, 2)

    run(settings, test, most_in_flight=32)


def test_a_command_is_decided_although_its_caller_is_gone(
    settings: Settings, handler: RunningProcess
) -> None:
    """Those of one loop iteration are not yet sent when their callers are cancelled."""

    async def test(client: AsyncCommandClient) -> None:
        tasks = [asyncio.create_task(client.create_user(email(n), "Jane", 34)) for n in range(MANY)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        ended = Counter(type(end) for end in await asyncio.gather(*tasks, return_exceptions=True))
        assert ended == {asyncio.CancelledError: MANY}

    run(settings, test)
    eventually(lambda: _is_decided_once(settings), what="every command is decided")


def _is_decided_once(settings: Settings) -> bool:
    with suppress(AssertionError):
        assert_exactly_once(settings, MANY)
        return True
    return False


def test_without_a_handler_callers_are_told_what_may_still_be_decided(
    settings: Settings, rollbook: Rollbook
) -> None:
    """A command without a place is not sent. The place of a command makes its look-up short."""
    sent: list[SentCommand] = []

    async def test(client: AsyncCommandClient) -> None:
        sent.append(await client.start(create_command(email(0), "Jane", 34, "c-0")))
        with pytest.raises(NotInTime, match="too many commands are in flight") as no_place:
            await client.send(create_command(email(1), "Jane", 34, "c-1"), timeout_seconds=0.5)
        assert no_place.value.code == "not_sent"
        assert await sent[0].offset() == 0
        with pytest.raises(NotInTime, match="may still be decided"):
            await sent[0].outcome()
        with pytest.raises(NotInTime, match="may still be decided"):
            await client.send(create_command(email(0), "Other", 34, "c-0"), timeout_seconds=0.5)

    run(settings, test, most_in_flight=1, timeout_seconds=2)
    place = CommandPlace(sent[0].partition, 0, sent[0].answer_from)
    with pytest.raises(NotInTime, match="not decided yet"):
        find_outcome(settings, "c-0", place=place)
    for later in (place._replace(offset=1_000), place._replace(offset=1_000, answer_from=5)):
        with pytest.raises(NotInTime, match="nothing is at the place"):
            find_outcome(settings, "c-0", place=later)
    rollbook.start_handler()
    outcome = eventually(lambda: _found(settings, "c-0", place))
    assert (outcome.accepted, outcome.repeated) == (True, False)
    with pytest.raises(Rejected, match="there is no command"):
        find_outcome(settings, "c-1")


def _found(settings: Settings, command_id: str, place: CommandPlace) -> Any:
    with suppress(NotInTime):
        return find_outcome(settings, command_id, place=place)


def test_foreign_bytes_with_the_id_as_key_are_passed_over(
    settings: Settings, handler: RunningProcess
) -> None:
    async def test(client: AsyncCommandClient) -> None:
        sent = await client.start(create_command(email(0), "Jane", 34, "c-0"))
        put(settings, OUTCOMES, *(("c-0", b"?", number) for number in range(settings.partitions)))
        assert (await sent.outcome()).accepted

    run(settings, test)


def test_answers_are_followed_again_after_an_unexpected_failure(
    settings: Settings, handler: RunningProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise every later command would wait for its answer in vain."""
    failed = threading.Event()

    def fail(*_: object) -> None:
        monkeypatch.undo()
        failed.set()
        raise MemoryError

    async def test(client: AsyncCommandClient) -> None:
        monkeypatch.setattr(outcome_follower, "poll_batch", fail)
        assert await asyncio.to_thread(failed.wait, 20)
        for _ in range(20):  # answers until it follows again are lost
            with suppress(NotInTime):
                assert (await client.create_user(email(0), "Jane", 34, "c-0")).accepted
                return
        pytest.fail("no command is answered any more")

    run(settings, test, timeout_seconds=3)


def test_entering_fails_without_topics(settings: Settings) -> None:
    from dataclasses import replace

    async def nothing(_client: AsyncCommandClient) -> None: ...

    with pytest.raises(Misconfigured):
        run(replace(settings, prefix=f"{settings.prefix}-none"), nothing)
