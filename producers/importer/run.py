"""Imports users with thousands of creations in flight, in bounded memory, each user once.

A command's id is derived from its line's content. So a line that is sent again, in this run or a
later one, is the same command, and a corrected line is a new one.

An address has one user, so no user is created twice even without equal ids. Equal ids make a
repeated import skip users who have changed their address or are gone, for as long as the handler
remembers outcomes: five minutes or more.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException

from producers.client.outcomes import open_outcomes
from producers.importer.encode import encode_create
from producers.importer.user_line import BadLine, UserLine
from runtime.kafka.access import is_denied
from runtime.kafka.client_classes import Producer
from runtime.kafka.clients import kafka_failure, poll_batch, producer_config
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.coding.codec import RecordCodec
from schemas.errors import Poisoned, Rejected, Unavailable
from schemas.records import ACCEPTED, CommandOutcome, UserCommand
from schemas.tokens import Token
from schemas.topics import COMMANDS, OUTCOMES

DEFAULT_IN_FLIGHT = 20_000
DEFAULT_TIMEOUT_SECONDS = 60.0

_LINES_A_STEP = 2_000
_OUTCOMES_A_STEP = 5_000
_STEP_SECONDS = 0.02


@dataclass(slots=True)
class ImportTotals:
    """Counts of lines by outcome. Blank lines do not count.

    `seqs` maps a partition to the greatest seq that was accepted there.
    """

    lines: int = 0
    created: int = 0
    already_there: int = 0
    rejected: int = 0
    seqs: dict[int, int] = field(default_factory=dict)

    @property
    def token(self) -> str | None:
        """The token of everything that was accepted; None if nothing was."""
        return str(Token(self.seqs)) if self.seqs else None

    @property
    def decided(self) -> int:
        """How many lines have an answer; correct also after an interruption."""
        return self.created + self.already_there + self.rejected

    @property
    def undecided(self) -> int:
        """How many lines wait for an answer."""
        return self.lines - self.decided

    def __str__(self) -> str:
        return f"{self.lines:,} lines read, {self.decided:,} decided"

    def as_fields(self) -> dict[str, Any]:
        """Return the totals as commands print them."""
        fields = asdict(self) | {"undecided": self.undecided, "token": self.token}
        del fields["seqs"]
        return fields


class UserImport:
    """One import. Construction sends nothing; it raises `Unavailable` or `Misconfigured`.

    At most `in_flight` lines are in memory. `on_reject` is called with line number, code and
    message of each rejected line. `issued_by` says who asks. `totals` may be read at any time, also
    after an error.
    """

    def __init__(
        self,
        settings: Settings,
        on_reject: Callable[[int, str, str], None],
        *,
        in_flight: int = DEFAULT_IN_FLIGHT,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        issued_by: str | None = None,
    ) -> None:
        self._issued_by = issued_by
        self.totals = ImportTotals()
        self._settings = settings
        self._on_reject = on_reject
        self._most_in_flight = in_flight
        self._timeout_seconds = timeout_seconds
        self._topic = settings.named(COMMANDS.name)
        # Command id → the number of the line that waits for its answer; and those of equal lines.
        self._waiting: dict[bytes, int] = {}
        self._equal: dict[bytes, list[int]] = {}
        self._progress_at = time.monotonic()
        self._failed: KafkaError | None = None
        registry = Registry(settings)
        self._commands: RecordCodec[UserCommand] = registry.codec(COMMANDS.schema)
        self._outcomes: RecordCodec[CommandOutcome] = registry.codec(OUTCOMES.schema)
        self._consumer = open_outcomes(settings)
        self._producer = Producer(
            producer_config(settings)
            | {
                "linger.ms": 5,  # thousands follow: fuller batches cost the broker less
                # `run` gives up when nothing progresses; there is no time limit for each command.
                "message.timeout.ms": 0,
                "delivery.report.only.error": True,
            }
        )

    def close(self) -> None:
        """Close the connections; commands that have not been sent yet are dropped."""
        self._producer.purge()
        self._producer.flush(1)
        self._consumer.close()

    def run(
        self,
        lines: Iterable[UserLine | BadLine | None],
        on_progress: Callable[[], None] | None = None,
    ) -> bool:
        """Import `lines`; return True once every line is decided.

        None instead of a line means that the next has not arrived yet: those before it are sent at
        once. Returns False if nothing progressed for `timeout_seconds`. Raises `Unavailable` if the
        brokers reject commands permanently.
        """
        remaining, ended = iter(lines), False
        while not ended or self.totals.undecided:
            # Send in full batches, not one line for each answer.
            room = self._most_in_flight - self.totals.undecided
            if not ended and room >= min(_LINES_A_STEP, self._most_in_flight // 2 or 1):
                ended = not self._send(remaining, min(room, _LINES_A_STEP))
            # Wait for answers only if nothing can be sent.
            full = ended or self._most_in_flight - self.totals.undecided < _LINES_A_STEP
            self._take_answers(_STEP_SECONDS if full and self.totals.undecided else 0)
            if on_progress:
                on_progress()
            if time.monotonic() - self._progress_at > self._timeout_seconds:
                return False
        return True

    def _send(self, lines: Iterator[UserLine | BadLine | None], most: int) -> bool:
        """Send at most `most` of the lines that have arrived; return False at the end."""
        batches: dict[int, list[dict[str, Any]]] = {}
        before, now_ms = self.totals.lines, time.time_ns() // 1_000_000
        waiting, partitions, codec = self._waiting, self._settings.partitions, self._commands
        arrived = True
        for line in islice(lines, most):
            if line is None:
                arrived = False
                break
            self.totals.lines += 1
            if isinstance(line, BadLine):
                self._reject(line.number, line.code, line.message)
                continue
            try:
                key, value, partition = encode_create(
                    line, codec, partitions, now_ms, self._issued_by
                )
            except Rejected as error:
                self._reject(line.number, error.code, str(error))
                continue
            if key in waiting:
                self._equal.setdefault(key, []).append(line.number)
                continue
            waiting[key] = line.number
            batches.setdefault(partition, []).append({"key": key, "value": value})
        for partition, batch in batches.items():
            self._produce(batch, partition)
        # While a slow pipe delivers nothing, only lines that wait for an answer may be late.
        if self.totals.lines > before or not self.totals.undecided:
            self._progress_at = time.monotonic()
        return self.totals.lines > before or not arrived

    def _produce(self, batch: list[dict[str, Any]], partition: int) -> None:
        # One call per partition: the documentation of confluent-kafka 2.16 allows a partition per
        # message, but the client sends all of them to that of the first.
        queued = self._producer.produce_batch(
            self._topic, batch, partition, on_delivery=cast("Any", self._on_delivery)
        )
        self._producer.poll(0)
        if queued != len(batch):
            # The queue holds far more than may be in flight, so waiting would not help.
            self._failed = next(m["_error"] for m in batch if m.get("_error") is not None)
        self._raise_if_failed()

    def _raise_if_failed(self) -> None:
        if self._failed is not None:
            permission = f"Write on topic {self._topic}"
            raise kafka_failure(self._settings, KafkaException(self._failed), permission)

    def _on_delivery(self, error: KafkaError | None, _message: object) -> None:
        self._failed = error or self._failed

    def _take_answers(self, wait_seconds: float) -> None:
        """Take the answers that have arrived; if there are none, wait `wait_seconds` for one."""
        self._producer.poll(0)
        self._raise_if_failed()
        waiting = self._waiting
        for message in poll_batch(self._consumer, _OUTCOMES_A_STEP, wait_seconds):
            key = cast("bytes", message.key())
            number = waiting.get(key)
            if number is not None:
                try:
                    outcome = self._outcomes.decode(message.value())
                except Poisoned:
                    continue  # foreign bytes with our key
                self._count(key, number, outcome)
                self._note_seq(message.partition() or 0, outcome["seq"])
            elif (error := message.error()) is not None:
                self._raise_if_lost(error)

    def _raise_if_lost(self, error: KafkaError) -> None:
        """Raise if answers are lost or denied; librdkafka recovers from other errors by itself."""
        if is_denied(error):
            permission = f"Read on topic {self._settings.named(OUTCOMES.name)}"
            raise kafka_failure(self._settings, KafkaException(error), permission)
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - its public name
            raise Unavailable(
                "the answers to the import are no longer on the log",
                code="answers_lost",
                next_step="run the import again: it creates no user twice",
            )

    def _count(self, key: bytes, number: int, outcome: CommandOutcome) -> None:
        """Count the answer for its line and for lines with equal content."""
        del self._waiting[key]
        numbers = [number, *self._equal.pop(key, ())] if self._equal else [number]
        self._progress_at = time.monotonic()
        if outcome["status"] == ACCEPTED:
            created = 0 if outcome["repeated"] else 1
            self.totals.created += created
            self.totals.already_there += len(numbers) - created
        elif outcome["code"] == "user_already_exists":
            self.totals.already_there += len(numbers)
        else:
            for rejected in numbers:
                self._reject(rejected, outcome["code"] or "rejected", outcome["message"] or "")

    def _note_seq(self, partition: int, seq: int | None) -> None:
        if seq is not None and seq > self.totals.seqs.get(partition, 0):
            self.totals.seqs[partition] = seq

    def _reject(self, number: int, code: str, message: str) -> None:
        self.totals.rejected += 1
        self._on_reject(number, code, message)
