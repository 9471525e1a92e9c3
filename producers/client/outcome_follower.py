"""Follows the outcomes in a thread and hands over those that somebody waits for, in batches."""

import logging
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final, NamedTuple, cast

from confluent_kafka import KafkaError, Message

from producers.client.delivery import check_readable
from producers.client.outcomes import check_command_topics, follow_outcomes
from runtime.kafka.clients import login_warning, lone_consumer, poll_batch
from runtime.kafka.registry import Registry
from runtime.process import Backoff
from runtime.settings import Settings
from schemas.coding.codec import RecordCodec
from schemas.errors import Forbidden, Poisoned, Unavailable
from schemas.records import CommandOutcome
from schemas.topics import OUTCOMES

log = logging.getLogger(__name__)

_BATCH_RECORDS: Final = 5_000
_WAIT_SECONDS: Final = 0.1
_JOIN_SECONDS: Final = 5.0
# Access counts as granted again if it was not denied for so long after following again.
_DENIED_SECONDS: Final = 2.0
# After these, librdkafka does not continue by itself.
_LOST_POSITION: Final = {
    KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 - librdkafka's own, as those below
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}


class Answer(NamedTuple):
    """An outcome, the partition it comes from and its command's id as a key."""

    key: bytes
    partition: int
    record: CommandOutcome


class OutcomeFollower:
    """Follows all partitions of the outcomes from their end at the time of construction.

    Its thread calls `on_answers` with the answers to the ids in `awaited`, in the order in which
    they were decided within a partition, and `on_forbidden` whenever the brokers deny
    access to them; `forbidden` is then the error.
    Whatever happens, it continues, as soon as the brokers answer: without it, no command would ever
    get its answer. If the log no longer has its position, or after an unexpected error, it
    continues at the end: the answers in between are not handed over.

    Construction blocks until the brokers answer; it raises what `check_command_topics`,
    `follow_outcomes` and `Registry.codec` raise.
    """

    def __init__(
        self,
        settings: Settings,
        awaited: Collection[bytes],
        on_answers: Callable[[list[Answer]], None],
        on_forbidden: Callable[[Forbidden], None],
    ) -> None:
        self._settings = settings
        self._awaited = awaited
        self._on_answers = on_answers
        self._on_forbidden = on_forbidden
        self._codec: RecordCodec[CommandOutcome] = Registry(settings).codec(OUTCOMES.schema)
        self._consumer = lone_consumer(settings, error_cb=login_warning(settings))
        try:
            check_command_topics(self._consumer, settings)
            # Where the next outcome of each partition is, or a place before it.
            self._positions = follow_outcomes(self._consumer, settings)
        except BaseException:
            self._consumer.close()
            raise
        self.forbidden: Forbidden | None = None
        self._denied_at = 0.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outcomes", daemon=True)
        self._thread.start()

    def position(self, partition: int) -> int:
        """Return an offset that every later answer of `partition` has or exceeds."""
        return self._positions[partition]

    def close(self) -> None:
        """End the thread and close its connection."""
        self._closing.set()
        self._thread.join(_JOIN_SECONDS)
        self._consumer.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                is_lost = self._step()
            except Exception:
                log.exception("the outcomes cannot be followed")
                is_lost = True
            if is_lost:
                self._follow_again()
            elif self.forbidden and time.monotonic() > self._denied_at + _DENIED_SECONDS:
                self.forbidden = None

    def _step(self) -> bool:
        """Hand over the answers that have arrived; return whether the position is lost."""
        answers: list[Answer] = []
        is_lost = False
        for message in poll_batch(self._consumer, _BATCH_RECORDS, _WAIT_SECONDS):
            error = message.error()
            if error is not None:
                is_lost = self._is_lost(error) or is_lost
            elif (answer := self._answer(message)) is not None:
                answers.append(answer)
        if answers:
            self._on_answers(answers)
        return is_lost

    def _answer(self, message: Message) -> Answer | None:
        """Return the answer in `message` if it is awaited."""
        key, partition = cast("bytes", message.key()), message.partition() or 0
        self._positions[partition] = (message.offset() or 0) + 1
        if key not in self._awaited:
            return None
        with suppress(Poisoned, Unavailable):  # foreign bytes with our key
            return Answer(key, partition, self._codec.decode(message.value()))
        return None

    def _is_lost(self, error: KafkaError) -> bool:
        """Return whether the follower must begin again after `error`."""
        try:
            check_readable(self._settings, error)
        except Forbidden as forbidden:
            if self.forbidden is None:
                log.warning("%s; trying again until it is granted", forbidden)
            self.forbidden, self._denied_at = forbidden, time.monotonic()
            self._on_forbidden(forbidden)
            return True
        return error.code() in _LOST_POSITION

    def _follow_again(self) -> None:
        """Assign all partitions again, each from its end, as soon as the brokers permit it."""
        backoff = Backoff(first_seconds=0.5)
        while not self._closing.wait(backoff.next_seconds()):
            try:
                self._positions = follow_outcomes(self._consumer, self._settings)
            except (Unavailable, Forbidden) as error:
                log.warning("%s; trying again to follow the outcomes", error)
            except Exception:
                log.exception("trying again to follow the outcomes")
            else:
                return
