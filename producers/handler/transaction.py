"""One Kafka transaction after the other, with every way it can end told apart.

Committed, surely not committed (KafkaException: abort and decide again), not known
(`IndefiniteError`: a new producer, and the log is read), or owned by another (`Fenced`: stop).
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from producers.handler.watchdog import Watchdog
from runtime.kafka import kafka_unavailable, transactional_config
from runtime.process import Backoff, StopSignal
from runtime.settings import Settings
from schemas.errors import Fenced, RollbookError

log = logging.getLogger(__name__)

_COMMIT_SECONDS = 30.0
_TRY_SECONDS = 5.0
# Every step is tried for `_COMMIT_SECONDS`, the last try begun just before.
_HANGS_SECONDS = _COMMIT_SECONDS + 2 * _TRY_SECONDS

# "Another process has this identity" or "this one is too old to write".
_FENCED = {
    KafkaError._FENCED,  # noqa: SLF001 - librdkafka's own name
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
}


class IndefiniteError(Exception):
    """Whether the transaction was committed is not known."""


class Transactions:
    """A transactional producer under a stable id; making one fences every earlier one of that id.

    Blocks until the coordinator answers or `stop` is set.
    """

    def __init__(self, settings: Settings, transactional_id: str, stop: StopSignal) -> None:
        self._settings = settings
        self._id = transactional_id
        self._stop = stop
        self._watchdog = Watchdog(_HANGS_SECONDS)
        self._begun = time.monotonic()
        self._connections = _Connections()
        self._producer = self._initialised()

    def _initialised(self) -> Producer:
        self._connections = _Connections()
        config = transactional_config(self._settings, self._id)
        producer = Producer(config | {"logger": self._connections.log})
        backoff = Backoff()
        while not self._stop:
            try:
                producer.init_transactions(_TRY_SECONDS)
            except KafkaException as error:
                if not error.args[0].retriable():
                    raise self._failure(error) from error
                log.warning("waiting for the transaction coordinator: %s", error.args[0].str())
                self._stop.wait(backoff.next_seconds())
            else:
                break
        return producer

    def commit(
        self,
        records: Iterable[tuple[str, int, list[dict[str, Any]]]],
        offsets: list[TopicPartition],
        metadata: Any,
    ) -> None:
        """Append the records (topic, partition, messages) and the offsets, or nothing of it.

        1. Begin. 2. Produce. 3. Send the offsets, which the broker refuses from an old generation
        of the group. 4. Commit, which waits for every delivery. Raises KafkaException if surely
        nothing was committed, `IndefiniteError` if that is not known.
        """
        producer = self._begin()
        for name, partition, messages in records:
            if producer.produce_batch(name, messages, partition=partition) != len(messages):
                raise KafkaException(next(m["_error"] for m in messages if "_error" in m))
        self._retrying(
            lambda: _within(
                2 * _TRY_SECONDS,
                lambda: producer.send_offsets_to_transaction(offsets, metadata, _TRY_SECONDS),
            )
        )
        try:
            self._retrying(lambda: producer.commit_transaction(_TRY_SECONDS))
        except KafkaException as error:
            if error.args[0].txn_requires_abort() or error.args[0].fatal() or _is_fenced(error):
                raise
            raise IndefiniteError from error

    def _begin(self) -> Producer:
        self._producer.poll(0)  # hears of what broke
        if self._connections.broke:
            self._renew()
        self._begun = time.monotonic()
        self._producer.begin_transaction()
        return self._producer

    def append_aborted(self, places: Iterable[tuple[str, int]]) -> bool:
        """Append a record to each topic and partition that no reader of committed ones ever sees.

        False if one may not have reached the broker. Raises as `abort` does.
        """
        left = 1
        try:
            producer = self._begin()
            for topic, partition in places:
                producer.produce(topic, key=b"housekeeping", value=b"", partition=partition)
            left = producer.flush(_TRY_SECONDS)
        except KafkaException as error:
            self._raise_if_fenced(error)
        self._abort()
        return left == 0

    def abort(self, error: KafkaException) -> None:
        """Abort after `error`. Raises `Fenced` if another process took over, or `IndefiniteError`.

        The producer may refuse the next transaction for a moment while it gets a new epoch.
        """
        self._raise_if_fenced(error)
        self._abort()

    def _abort(self) -> None:
        try:
            self._retrying(lambda: self._producer.abort_transaction(_TRY_SECONDS))
        except KafkaException as failed:
            self._raise_if_fenced(failed)
            raise IndefiniteError from failed

    def begin_anew(self) -> None:
        """Throw the producer away after an indefinite result.

        librdkafka speaks transactions v1 (no epoch bump, librdkafka#5423): a late EndTxn could end
        the *next* transaction of the same epoch. `init_transactions` raises the epoch first.
        """
        self._producer = self._initialised()

    def _renew(self) -> None:
        """Raise the epoch after a connection broke, though the transaction before ended well.

        librdkafka sends an `EndTxn` without an answer again, by itself. The first one may still be
        on its way, and would end whatever transaction of this epoch is open when it arrives.
        """
        log.info("a connection broke: raising the epoch, so that nothing late can end the next one")
        self._producer = self._initialised()

    def _raise_if_fenced(self, error: KafkaException) -> None:
        """Raise `Fenced` if another process took over, `IndefiniteError` if the broker did.

        A transaction older than its timeout is ended by the broker itself, which then refuses us as
        it would a zombie: after an outage that is no other process. Should there be one all the
        same, the group tells: it refuses our offsets, and our membership.
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
                f"another process took over as {self._id}: {error.args[0].str()}",
                next_step="give every handler its own --instance",
            )
        return kafka_unavailable(self._settings, error)

    def _retrying(self, step: Callable[[], None]) -> None:
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


class _Connections(logging.Handler):
    """Whether a producer lost a connection: for a coordinator's it says so in its log alone."""

    def __init__(self) -> None:
        super().__init__()
        self.broke = False
        self.log = logging.Logger("librdkafka.transactions")  # noqa: LOG001 - one a producer
        self.log.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Look for librdkafka's word for it."""
        self.broke = self.broke or record.getMessage().startswith("FAIL")


def _is_fenced(error: KafkaException) -> bool:
    return error.args[0].code() in _FENCED


def _within(seconds: float, step: Callable[[], None]) -> None:
    """Run a step that may never return, and give up waiting for it. Raises `IndefiniteError`.

    `send_offsets_to_transaction` waits for ever if the group's coordinator went away under it,
    whatever its timeout (librdkafka#5456). Its producer is then left behind with the thread.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            failures.append(error)

    # A daemon, unlike an executor's thread: the process can still end.
    thread = threading.Thread(target=run, name="transaction", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise IndefiniteError
    if failures:
        raise failures[0]
