"""Which answer a command gets, and what its callers see, without servers."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from producers.client.delivery import Delivery
from producers.client.sent_command import SentCommand
from schemas.errors import NotInTime
from schemas.records import CommandOutcome
from tests.unit.producers.client.test_outcomes import OUTCOME


def answer(offset: int) -> CommandOutcome:
    return {**OUTCOME, "command_offset": offset, "seq": offset}


def on_a_loop(test: Callable[[SentCommand], Coroutine[Any, Any, None]]) -> None:
    """Run `test` with a command that is with the producer."""

    async def run() -> None:
        delivery = Delivery("c-1", b"value", 3)
        delivery.pending = True
        await test(SentCommand(delivery, 10, 0))

    asyncio.run(run())


def confirm(sent: SentCommand, offset: int) -> bool:
    sent.delivery.pending, sent.delivery.offset = False, offset
    return sent.confirm()


def test_an_answer_to_an_earlier_command_of_the_same_id_is_passed_over() -> None:
    async def test(sent: SentCommand) -> None:
        assert not confirm(sent, 7)
        assert await sent.offset() == 7
        assert not sent.answer(answer(5))
        assert sent.answer(answer(7))
        assert (await sent.outcome()).token == "3:7"

    on_a_loop(test)


def test_answers_before_the_offset_is_known_are_kept_until_then() -> None:
    async def test(sent: SentCommand) -> None:
        assert not sent.answer(answer(5))
        assert not sent.answer(answer(7))
        assert confirm(sent, 7)
        assert (await sent.outcome()).token == "3:7"

    on_a_loop(test)


def test_callers_that_are_cancelled_change_nothing() -> None:
    """Whether or not the command is confirmed by then."""

    async def test(sent: SentCommand) -> None:
        for wait in (sent.offset, sent.outcome):
            gone = asyncio.create_task(wait())
            await asyncio.sleep(0)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
        assert not confirm(sent, 7)
        assert sent.answer(answer(7))
        sent.fail(NotInTime("late"))

    on_a_loop(test)


def test_a_failure_reaches_whoever_asks_later_too() -> None:
    """Nobody has to ask: asyncio would log an exception that was never seen."""

    async def test(sent: SentCommand) -> None:
        confirm(sent, 7)
        sent.fail(NotInTime("late"))
        assert await sent.offset() == 7
        with pytest.raises(NotInTime):
            await sent.outcome()

    on_a_loop(test)


def test_a_function_is_called_when_it_is_over_and_its_result_is_known() -> None:
    async def test(sent: SentCommand) -> None:
        tokens: list[str | None] = []
        sent.when_over(lambda over: tokens.append(over.result().token))
        assert not confirm(sent, 7)
        assert sent.answer(answer(7))
        sent.end()
        assert (tokens, sent.is_over) == (["3:7"], True)

    on_a_loop(test)
