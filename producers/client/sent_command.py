"""A command on its way, as its sender sees it."""

import asyncio
from collections.abc import Callable

from producers.client.delivery import Delivery
from producers.client.outcomes import Outcome, outcome_of
from schemas.errors import RollbookError
from schemas.records import CommandOutcome


class SentCommand:
    """A command on its way; `AsyncCommandClient.start` returns it.

    Its answer will be in the partition of the same number of the outcomes, at `answer_from` or
    behind it. Await each method once. A caller that is cancelled meanwhile withdraws nothing.
    """

    __slots__ = (
        "_answered",
        "_confirmed",
        "_early",
        "_when_over",
        "answer_from",
        "delivery",
        "is_late",
        "is_over",
        "timeout_seconds",
        "timer",
    )

    def __init__(self, delivery: Delivery, timeout_seconds: float, answer_from: int) -> None:
        self.delivery = delivery
        self.timeout_seconds = timeout_seconds
        self.answer_from = answer_from
        self.timer: asyncio.TimerHandle | None = None
        self.is_late = False
        self.is_over = False
        loop = asyncio.get_running_loop()
        self._answered: asyncio.Future[Outcome] = loop.create_future()
        self._confirmed: asyncio.Future[int] = loop.create_future()
        self._when_over: Callable[[SentCommand], object] | None = None
        # Answers that came before the command's offset was known.
        self._early: list[CommandOutcome] = []

    @property
    def command_id(self) -> str:
        """The command's id."""
        return self.delivery.command_id

    @property
    def partition(self) -> int:
        """The number of the partition that decides the command."""
        return self.delivery.partition

    async def outcome(self) -> Outcome:
        """Return the answer. Raises as `AsyncCommandClient.send` does."""
        return await self._answered

    async def offset(self) -> int:
        """Return its place in its partition of the commands, once a broker has confirmed it.

        From then on it is certain to be decided. Raises as `AsyncCommandClient.send` does.
        """
        return await self._confirmed

    def when_over(self, function: Callable[["SentCommand"], object]) -> None:
        """Call `function` with this command once `result` is known; it must not raise.

        The calls come in the order of the answers. A command has one such function.
        """
        self._when_over = function

    def result(self) -> Outcome:
        """Return the answer at once. Raises as `outcome` does; it must be known already."""
        return self._answered.result()

    def answer(self, record: CommandOutcome) -> bool:
        """Note an answer to its id; return whether it is the answer to this command."""
        if self.delivery.offset < 0:
            self._early.append(record)
        elif self.delivery.is_answered_by(record):
            if not self._answered.done():
                self._answered.set_result(outcome_of(record, self.partition))
            return True
        return False

    def confirm(self) -> bool:
        """Note that a broker has confirmed it; return whether its answer has come already."""
        if not self._confirmed.done():
            self._confirmed.set_result(self.delivery.offset)
        return any(self.answer(record) for record in self._early)

    def fail(self, error: RollbookError) -> None:
        """Make everything that still waits raise `error`."""
        for future in (self._confirmed, self._answered):
            if not future.done():
                future.set_exception(error)
                future.exception()  # asyncio logs an exception that nobody has asked for

    def end(self) -> None:
        """Note that the client no longer follows it, and stop its timer."""
        self.is_over = True
        if self.timer is not None:
            self.timer.cancel()
        if self._when_over is not None:
            self._when_over(self)
