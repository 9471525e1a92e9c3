"""Sends many commands at once from an event loop and returns the answer to each.

All of them share one producer and one follower of the outcomes, each with a thread. The threads
hand what they receive to the event loop in batches, and only the event loop changes what is known
about a command: so there are no locks, and no wake-up of the loop for each answer.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final, Self

from confluent_kafka import KafkaError, Message

from producers.client.build import command_partition
from producers.client.command_client import DEFAULT_TIMEOUT_SECONDS
from producers.client.delivery import (
    COMMAND_PRODUCER,
    Delivery,
    nothing_sent,
    produce_all,
)
from producers.client.outcome_follower import Answer, OutcomeFollower
from producers.client.outcomes import CONNECT_TIMEOUT_SECONDS, Outcome, check_permissions
from producers.client.sent_command import SentCommand
from producers.client.user_commands import UserCommands
from runtime.kafka.client_classes import Producer
from runtime.kafka.clients import admin, has_login, kafka_available, producer_config
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from runtime.tracing import tracing_of
from schemas.coding.codec import RecordCodec
from schemas.errors import Forbidden, NotInTime, RollbookError
from schemas.fields.rules import permit_special_use
from schemas.records import UserCommand
from schemas.topics import COMMANDS

DEFAULT_IN_FLIGHT: Final = 10_000

_POLL_SECONDS: Final = 0.1
_REPEAT_SECONDS: Final = 0.1
# How long librdkafka may take to return what it has not sent.
_WITHDRAWAL_SECONDS: Final = 0.5
# How long to wait on closing until the commands of callers that are gone are on the log.
_FLUSH_SECONDS: Final = 5.0


class AsyncCommandClient(UserCommands[Coroutine[Any, Any, Outcome]]):
    """Sends commands from an event loop, many at once: use it with `async with`.

        async with AsyncCommandClient(settings) as client:
            outcome = await client.create_user("jane@example.com", "Jane Doe", 34)

    Answers, errors and what repeating a command id guarantees are those of `CommandClient`, except
    that a client without brokers waits for them: it raises `NotInTime` (`not_sent`) at the end of
    `timeout_seconds` if no broker took the command. Entering raises `Unavailable` or
    `Misconfigured` (missing topics). It belongs to the event loop that entered it.

    Commands that are in flight together may be decided in any order. At most `most_in_flight` are;
    further callers wait. A caller that is cancelled withdraws nothing: what was sent is decided.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        most_in_flight: int = DEFAULT_IN_FLIGHT,
    ) -> None:
        self._settings = settings
        self._timeout_seconds = timeout_seconds
        self._topic = settings.named(COMMANDS.name)
        self._tracing = tracing_of(settings)
        self._places = asyncio.Semaphore(most_in_flight)
        # The commands in flight by key; several may have the same id.
        self._awaited: dict[bytes, list[SentCommand]] = {}
        # Those that the producer gets next, together, once the event loop has run what is ready.
        self._unsent: list[SentCommand] = []
        self._reports: list[tuple[SentCommand, KafkaError | None, Message]] = []
        self._closing = threading.Event()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._open)
        return self

    def _open(self) -> None:
        permit_special_use(self._settings.special_use_domains)
        self._codec: RecordCodec[UserCommand] = Registry(self._settings).codec(COMMANDS.schema)
        self._admin = admin(self._settings) if has_login(self._settings) else None
        self._follower = OutcomeFollower(
            self._settings,
            self._awaited,
            partial(self._on_loop, self._take_answers),
            partial(self._on_loop, self._deny),
        )
        try:
            # By default every command wakes librdkafka, and is a request of its own: with 64 in
            # flight that is half of the processor time of a command.
            options = {"linger.ms": 1}
            self._producer = Producer(producer_config(self._settings) | COMMAND_PRODUCER | options)
            self._thread = threading.Thread(target=self._poll, name="deliveries", daemon=True)
            self._thread.start()
        except BaseException:
            self._follower.close()
            raise

    async def __aexit__(self, *_: object) -> None:
        """Close the connections, once what was sent is on the log: after 5 s at the latest."""
        self._produce()
        self._closing.set()
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._follower.close)
        for sent in [sent for same in self._awaited.values() for sent in same]:
            self._give_up(sent)

    async def send(self, command: UserCommand, timeout_seconds: float | None = None) -> Outcome:
        """Send a command that a function of `producers.client.build` returned."""
        return await (await self.start(command, timeout_seconds)).outcome()

    async def start(
        self, command: UserCommand, timeout_seconds: float | None = None
    ) -> SentCommand:
        """Give a command to the producer and return it, without waiting for a broker.

        Commands that are started before the event loop runs again go to the broker together.

        Blocks only while `most_in_flight` commands are undecided. Raises `NotInTime` (`not_sent`)
        if that lasts too long, and `Forbidden` if answers may not be read.
        """
        seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        deadline = self._loop.time() + seconds
        if self._follower.forbidden is not None:
            raise nothing_sent(self._follower.forbidden)
        partition = command_partition(command, self._settings.partitions)
        delivery = Delivery(command["command_id"], self._codec.encode(command), partition)
        await self._take_place(deadline)
        if self._tracing is not None:
            delivery.trace = self._tracing.send_command(self._topic, partition, command)
        sent = SentCommand(delivery, seconds, self._follower.position(partition))
        sent.timer = self._loop.call_at(deadline, self._expire, sent)
        self._awaited.setdefault(delivery.key, []).append(sent)
        self._attempt(sent)
        return sent

    async def check(self) -> None:
        """Raise `Unavailable` if no broker answers within 5 s, `Forbidden` if access is denied."""
        if self._follower.forbidden is not None:
            raise self._follower.forbidden
        if self._admin is not None:
            await asyncio.to_thread(check_permissions, self._settings, self._admin)
            return
        with kafka_available(self._settings):
            await asyncio.to_thread(
                self._producer.list_topics, self._topic, CONNECT_TIMEOUT_SECONDS
            )

    async def _take_place(self, deadline: float) -> None:
        """Count one more command as in flight, once there is room for it; `_end` gives it back."""
        if not self._places.locked():
            await self._places.acquire()  # at once
            return
        try:
            async with asyncio.timeout_at(deadline):
                await self._places.acquire()
        except TimeoutError:
            raise NotInTime(
                "too many commands are in flight; nothing was sent",
                code="not_sent",
                next_step="is a handler running? `rollbook status` shows that; send fewer at once",
            ) from None

    def _attempt(self, sent: SentCommand) -> None:
        """Have the producer take the command, with all others that are started meanwhile."""
        if not self._unsent:
            self._loop.call_soon(self._produce)
        self._unsent.append(sent)

    def _produce(self) -> None:
        """Give the producer what waits for it: fewer, larger requests cost the broker less."""
        unsent, self._unsent = [sent for sent in self._unsent if not sent.is_over], []
        deliveries = [(sent.delivery, partial(self._report, sent)) for sent in unsent]
        produce_all(self._producer, self._topic, deliveries)
        for sent in unsent:
            if not sent.delivery.pending:
                self._after_attempt(sent)

    def _after_attempt(self, sent: SentCommand) -> None:
        if sent.is_over:
            return
        if sent.delivery.offset >= 0:
            if sent.confirm():
                self._end(sent)
        elif sent.is_late:
            self._give_up(sent)
        else:
            try:
                sent.delivery.check(self._settings)
            except RollbookError as error:
                self._fail(sent, error)
            else:
                self._loop.call_later(_REPEAT_SECONDS, self._attempt, sent)

    def _expire(self, sent: SentCommand) -> None:
        """End the wait for an answer, after asking whether the command was sent at all."""
        sent.is_late = True
        if sent.delivery.pending:
            # This returns what is in the queue for other callers too: it is produced again.
            self._producer.purge(in_queue=True, in_flight=False, blocking=False)
            sent.timer = self._loop.call_later(_WITHDRAWAL_SECONDS, self._give_up, sent)
        else:
            self._give_up(sent)

    def _give_up(self, sent: SentCommand) -> None:
        self._fail(sent, sent.delivery.too_late(sent.timeout_seconds))

    def _deny(self, forbidden: Forbidden) -> None:
        for sent in [sent for same in self._awaited.values() for sent in same]:
            self._fail(sent, sent.delivery.unreadable(forbidden))

    def _fail(self, sent: SentCommand, error: RollbookError) -> None:
        if not sent.is_over:
            sent.fail(error)
            self._end(sent)

    def _end(self, sent: SentCommand) -> None:
        same = self._awaited[sent.delivery.key]
        same.remove(sent)
        if not same:
            del self._awaited[sent.delivery.key]
        self._places.release()
        sent.delivery.end()
        sent.end()

    def _take_reports(self, reports: list[tuple[SentCommand, KafkaError | None, Message]]) -> None:
        for sent, error, message in reports:
            sent.delivery.report(error, message)
            self._after_attempt(sent)

    def _take_answers(self, answers: list[Answer]) -> None:
        for key, partition, record in answers:
            for sent in list(self._awaited.get(key, ())):
                if sent.delivery.partition == partition and sent.answer(record):
                    self._end(sent)

    # What follows runs in the threads.

    def _poll(self) -> None:
        """Call the producer's callbacks until closing, then send what is still in its queue."""
        while not self._closing.is_set():
            self._producer.poll(_POLL_SECONDS)
            self._hand_over_reports()
        self._producer.flush(_FLUSH_SECONDS)
        self._producer.purge()
        self._producer.poll(0)
        self._hand_over_reports()

    def _report(self, sent: SentCommand, error: KafkaError | None, message: Message) -> None:
        self._reports.append((sent, error, message))

    def _hand_over_reports(self) -> None:
        if self._reports:
            reports, self._reports = self._reports, []
            self._on_loop(self._take_reports, reports)

    def _on_loop(self, function: Callable[[Any], None], argument: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function, argument)
