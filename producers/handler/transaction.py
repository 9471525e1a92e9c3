"""Runs Kafka transactions one after another and distinguishes the four ways one can end.

Committed; certainly not committed (KafkaException: abort and decide again); unknown
(`IndefiniteError`: recreate the producer and read the log); or owned by another process (`Fenced`:
stop).
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from producers.handler.clients import Clients
from producers.handler.watchdog import Watchdog
from runtime.kafka.access import is_denied
from runtime.kafka.clients import produce_batch
from runtime.metrics.health import HEALTH
from runtime.process import Backoff, StopSignal
from runtime.settings import Settings
from schemas.errors import Fenced, RollbookError

log = logging.getLogger(__name__)

_COMMIT_SECONDS = 30.0
_TRY_SECONDS = 5.0
# Every step is retried for `_COMMIT_SECONDS`; the last try may begin just before that.
MOST_STEP_SECONDS = _COMMIT_SECONDS + 2 * _TRY_SECONDS

# "Another process has this identity" or "this one is too old to write".
_FENCED = {
    KafkaError._FENCED,  # noqa: SLF001 - librdkafka's own name
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
}
# The end of librdkafka's message about a connection that could not be opened.
_NEVER_CONNECTED = re.compile(r"in state (TRY_)?CONNECT\b")


class IndefiniteError(Exception):
    """It is unknown whether the transaction was committed."""


class Transactions:
    """A transactional producer under a stable id; creating one fences every earlier one of that id.

    Construction blocks until the coordinator answers or `stop` is set.
    """

    def __init__(
        self, settings: Settings, clients: Clients, watchdog: Watchdog, stop: StopSignal
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._stop = stop
        self._watchdog = watchdog
        self._begun = time.monotonic()
        self._connections = ConnectionLossDetector()
        self._producer = self._initialised()

    def _initialised(self) -> Producer:
        self._connections = ConnectionLossDetector()
        producer = self._clients.transactional_producer(self._connections.logger)
        backoff = Backoff()
        while not self._stop:
            try:
                producer.init_transactions(_TRY_SECONDS)
            except KafkaException as error:
                if not (error.args[0].retriable() or is_denied(error.args[0])):
                    raise self._failure(error) from error
                failure = self._clients.failure(error)
                log.warning("waiting for the transaction coordinator: %s", failure)
                HEALTH.lacks(failure)
                self._stop.wait(backoff.after(failure))
                if is_denied(error.args[0]):  # to this producer the error is final
                    producer = self._clients.transactional_producer(self._connections.logger)
            else:
                HEALTH.works()
                break
        return producer

    def commit(
        self,
        records: Iterable[tuple[str, int, list[dict[str, Any]]]],
        offsets: list[TopicPartition],
        metadata: Any,
    ) -> None:
        """Append the records (topic, partition, messages) and commit the offsets, or neither.

        1. Begin. 2. Produce. 3. Send the offsets, which the broker refuses from an old generation
        of the group. 4. Commit, which waits for every delivery. Raises KafkaException if
        certainly nothing was committed (then call `abort`), `IndefiniteError` if that is unknown.
        """
        producer = self._begin()
        for name, partition, messages in records:
            if produce_batch(producer, name, partition, messages) != len(messages):
                raise KafkaException(next(m["_error"] for m in messages if "_error" in m))
        self._retry(
            lambda: call_with_deadline(
                2 * _TRY_SECONDS,
                lambda: producer.send_offsets_to_transaction(offsets, metadata, _TRY_SECONDS),
            )
        )
        try:
            self._retry(lambda: producer.commit_transaction(_TRY_SECONDS))
        except KafkaException as error:
            if error.args[0].txn_requires_abort() or error.args[0].fatal() or _is_fenced(error):
                raise
            raise IndefiniteError from error

    def _begin(self) -> Producer:
        self._producer.poll(0)  # lets it report connections that were lost
        if self._connections.lost_one:
            # Raise the epoch although the previous transaction ended well: librdkafka itself
            # resends an `EndTxn` that got no answer. The first one may still be on its way, and
            # would end whatever transaction of this epoch is open when it arrives.
            log.info(
                "a connection was lost: raising the epoch, so that no late request takes effect"
            )
            self.recreate_producer()
        self._begun = time.monotonic()
        self._producer.begin_transaction()
        return self._producer

    def copies(self, topic: str, partition: int) -> int:
        """Return how many brokers have a copy of a partition; 0 if they do not know it yet.

        Raises KafkaException.
        """
        known = self._producer.list_topics(topic, timeout=_TRY_SECONDS).topics[topic].partitions
        return len(known[partition].replicas) if partition in known else 0

    def append_aborted(
        self, places: Iterable[tuple[str, int]]
    ) -> Mapping[tuple[str, int], int] | None:
        """Append an aborted record, which no reader sees, to each (topic, partition).

        Returns the offset of each; None if brokers may not have confirmed one. Raises as `abort`
        does.
        """
        undelivered = 1
        failures: list[KafkaError] = []
        offsets: dict[tuple[str, int], int] = {}

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failures.append(error)
            else:
                offsets[message.topic() or "", message.partition() or 0] = message.offset() or 0

        try:
            producer = self._begin()
            for topic, partition in places:
                producer.produce(
                    topic,
                    key=b"housekeeping",
                    value=b"",
                    partition=partition,
                    on_delivery=on_delivery,
                )
            undelivered = producer.flush(_TRY_SECONDS)
        except KafkaException as error:
            self._raise_if_fenced(error)
        except SystemError as error:
            # After a fatal error, confluent-kafka calls `on_delivery` with the exception set.
            if not isinstance(error.__cause__, KafkaException):
                raise
            self._raise_if_fenced(error.__cause__)
        self._abort()
        if failures:
            failure = self._failure(KafkaException(failures[0]))
            log.warning("an aborted record was not appended: %s", failure)
        return offsets if undelivered == 0 and not failures else None

    def abort(self, error: KafkaException) -> None:
        """Abort after `error`. Raises `Fenced` if another process took over, or `IndefiniteError`.

        The producer may refuse the next transaction for a moment while it gets a new epoch.
        """
        self._raise_if_fenced(error)
        self._abort()

    def _abort(self) -> None:
        try:
            self._retry(lambda: self._producer.abort_transaction(_TRY_SECONDS))
        except KafkaException as failed:
            self._raise_if_fenced(failed)
            raise IndefiniteError from failed

    def recreate_producer(self) -> None:
        """Replace the producer, as must be done after an indefinite result.

        librdkafka uses version 1 of the transaction protocol (no new epoch for each transaction,
        librdkafka#5423): a late EndTxn could end the *next* transaction of the same epoch.
        `init_transactions` raises the epoch first.
        """
        self._producer = self._initialised()

    def _raise_if_fenced(self, error: KafkaException) -> None:
        """Raise `Fenced` if another process took over, `IndefiniteError` after a timeout.

        The broker aborts a transaction older than its timeout and then refuses the producer like a
        zombie, so after an outage this error does not prove that another process took over. If one
        did, the group refuses our offsets and our membership.
        """
        if not _is_fenced(error):
            if error.args[0].fatal():
                raise IndefiniteError from error
            return
        if time.monotonic() - self._begun >= self._settings.transaction_timeout_seconds:
            raise IndefiniteError from error
        raise self._failure(error) from error

    def _failure(self, error: KafkaException) -> RollbookError:
        if _is_fenced(error):
            return Fenced(
                f"another process took over as {self._clients.identity}: {error.args[0].str()}",
                next_step="give every handler its own --instance",
            )
        return self._clients.failure(error)

    def _retry(self, step: Callable[[], None]) -> None:
        """Repeat a step of a transaction while librdkafka calls its error retriable."""
        deadline = time.monotonic() + _COMMIT_SECONDS
        with self._watchdog.step():
            while True:
                try:
                    step()
                except KafkaException as error:
                    if not error.args[0].retriable() or time.monotonic() > deadline or self._stop:
                        raise
                else:
                    return


class ConnectionLossDetector(logging.Handler):
    """Detects in a producer's log that it lost a connection; a coordinator's loss shows only there.

    Give `logger` to one producer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lost_one = False
        self.logger = logging.Logger("librdkafka.transactions")  # noqa: LOG001 - one a producer
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Look for librdkafka's name for a lost connection.

        It also reports every second that a broker which is down cannot be reached. Nothing is on
        its way to that broker, and raising the epoch for each report would slow down all
        transactions as long as one broker of several is down.
        """
        message = record.getMessage()
        is_lost = message.startswith("FAIL") and not _NEVER_CONNECTED.search(message)
        self.lost_one = self.lost_one or is_lost


def _is_fenced(error: KafkaException) -> bool:
    return error.args[0].code() in _FENCED


def call_with_deadline(seconds: float, call: Callable[[], None]) -> None:
    """Run a call that may never return. Raises `IndefiniteError` if it takes longer than `seconds`.

    `send_offsets_to_transaction` waits for ever, whatever its timeout, if the group's coordinator
    becomes unavailable meanwhile (librdkafka#5456). Its producer and the thread are then abandoned.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            # Neither here nor below may the error refer to a frame that refers to it: such a cycle
            # keeps the producer, with its threads and connections, until the next collection.
            failures.append(error.with_traceback(None))

    # A daemon, unlike an executor's thread: the process can still end.
    thread = threading.Thread(target=run, name="transaction", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise IndefiniteError
    if failures:
        raise failures.pop()
