"""One Kafka transaction after the other, with every way it can end told apart.

Committed, surely not committed (KafkaException: abort and decide again), not known
(`IndefiniteError`: a new producer, and the log is read), or owned by another (`Fenced`: stop).
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from producers.watchdog import Watchdog
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
        self._producer = self._initialised()

    def _initialised(self) -> Producer:
        producer = Producer(transactional_config(self._settings, self._id))
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
        producer = self._producer
        producer.begin_transaction()
        for name, partition, messages in records:
            if producer.produce_batch(name, messages, partition=partition) != len(messages):
                raise KafkaException(next(m["_error"] for m in messages if "_error" in m))
        self._retrying(
            lambda: producer.send_offsets_to_transaction(offsets, metadata, _TRY_SECONDS)
        )
        try:
            self._retrying(lambda: producer.commit_transaction(_TRY_SECONDS))
        except KafkaException as error:
            if error.args[0].txn_requires_abort() or _is_fenced(error):
                raise
            raise IndefiniteError from error

    def abort(self, error: KafkaException) -> None:
        """Abort after `error`. Raises `Fenced` if another process took over, or `IndefiniteError`.

        The producer may refuse the next transaction for a moment while it gets a new epoch.
        """
        if _is_fenced(error):
            raise self._failure(error) from error
        try:
            self._retrying(lambda: self._producer.abort_transaction(_TRY_SECONDS))
        except KafkaException as failed:
            if _is_fenced(failed):
                raise self._failure(failed) from failed
            raise IndefiniteError from failed

    def begin_anew(self) -> None:
        """Throw the producer away after an indefinite result.

        librdkafka speaks transactions v1 (no epoch bump, librdkafka#5423): a late EndTxn could end
        the *next* transaction of the same epoch. `init_transactions` raises the epoch first.
        """
        self._producer = self._initialised()

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
                    if not error.args[0].retriable() or time.monotonic() > deadline:
                        raise
                else:
                    return


def _is_fenced(error: KafkaException) -> bool:
    return error.args[0].fatal() or error.args[0].code() in _FENCED
