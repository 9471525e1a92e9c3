"""A batch in which commands bring the context of a trace, and events take it along."""

from collections.abc import Iterator
from itertools import groupby
from time import time_ns
from typing import Any, Final

from confluent_kafka import Message

from producers.domain.overlay import Overlay
from producers.handler.batch import Batch, Records
from runtime.tracing import conventions
from runtime.tracing.context import (
    Headers,
    context_of,
    is_unsampled,
    passed_on,
    record_headers,
    trace_headers,
)
from runtime.tracing.conventions import Attributes
from runtime.tracing.tracing import Tracing, fail
from schemas.records import (
    CHANGE_EMAIL,
    CREATE_USER,
    DELETE_USER,
    ERASE_USER,
    UPDATE_USER,
    CommandOutcome,
    UserCommand,
)
from schemas.topics import EVENTS, HISTORY, HOPS, Topic

# Anything may stand in the kind of a command that is refused.
_KINDS: Final = frozenset({CREATE_USER, UPDATE_USER, CHANGE_EMAIL, DELETE_USER, ERASE_USER})


class TracedBatch(Batch):
    """A `Batch` that writes the context of each command to its events and address messages.

    The span of a command begins with its decision and ends with the transaction.
    """

    def __init__(self, *arguments: Any, tracing: Tracing, group: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._spans = tracing.batch(self._commands_topic, group)
        # The headers of events by partition and their place in the overlay.
        self._event_headers: dict[int, dict[int, Headers]] = {}
        # Those of address messages by `id`.
        self._message_headers: dict[int, Headers] = {}
        self._decision: Attributes = {}

    def decide(self, message: Message) -> None:
        """Decide as `Batch` does, in the trace that the message belongs to, if there is one."""
        headers = trace_headers(message)
        sampled = None if not headers or is_unsampled(headers) else context_of(headers)
        if sampled is None and not is_unsampled(headers):
            super().decide(message)
            return
        topic, number, offset = message.topic() or "", message.partition() or 0, message.offset()
        began_ns, decided, letters = time_ns(), self.decided, len(self._letters)
        overlay = self._overlays.get(number)
        events, messages = (len(overlay.events), len(overlay.messages)) if overlay else (0, 0)
        self._decision = {}
        super().decide(message)
        if self.decided == decided:
            return  # it is left for a later batch
        overlay = self._overlays[number]
        span = None
        if sampled is not None:
            place = number, offset or 0
            span = self._spans.begin(sampled, began_ns, topic, place, self._decision)
            if span is not None and len(self._letters) > letters:
                fail(span, self._letters[-1]["error"])
        new_messages = overlay.messages[messages:]
        if len(overlay.events) == events and not new_messages:
            return
        headers = passed_on(headers)
        if span is not None:
            sent_to = HOPS if len(overlay.events) == events else EVENTS
            sending = self._spans.begin_sending(span, self._settings.named(sent_to.name))
            headers = record_headers(sending)
        by_place = self._event_headers.setdefault(number, {})
        by_place.update(dict.fromkeys(range(events, len(overlay.events)), headers))
        self._message_headers.update({id(one): headers for _, one in new_messages})

    def _decide_command(self, overlay: Overlay, offset: int, command: UserCommand) -> None:
        outcomes = len(overlay.outcomes)
        super()._decide_command(overlay, offset, command)
        # Its id has been checked by now.
        self._decision = {conventions.COMMAND_ID: command["command_id"]}
        if command["kind"] in _KINDS:
            self._decision[conventions.COMMAND_KIND] = command["kind"]
        if len(overlay.outcomes) > outcomes:
            self._decision |= _outcome_attributes(overlay.outcomes[-1])

    def records(self) -> Iterator[Records]:
        """Yield what to produce; records with headers apart from those without."""
        for topic, number, records in super().records():
            for _, some in groupby(records, lambda record: "headers" in record):
                yield topic, number, list(some)

    def _local_records(self, overlay: Overlay) -> Iterator[tuple[Topic, list[dict[str, Any]]]]:
        by_place = self._event_headers.get(overlay.state.partition, {})
        for topic, records in super()._local_records(overlay):
            if topic is EVENTS or topic is HISTORY:
                first = 1 if topic is EVENTS and overlay.mark is not None else 0
                for place, headers in by_place.items():
                    records[first + place]["headers"] = headers
            yield topic, records

    def _address_messages(self) -> dict[int, list[dict[str, Any]]]:
        by_partition = super()._address_messages()
        records = {number: iter(sent) for number, sent in by_partition.items()}
        for overlay in self._overlays.values():
            for number, message in overlay.messages:
                record = next(records[number])
                if id(message) in self._message_headers:
                    record["headers"] = self._message_headers[id(message)]
        return by_partition

    def fold(self) -> None:
        """Merge the overlays into the states, and end the spans."""
        super().fold()
        self._spans.end(self.decided, {})

    def drop(self, why: str) -> None:
        """End the spans as failed; the commands get others when they are decided again."""
        self._spans.end(self.decided, {}, why)


def _outcome_attributes(outcome: CommandOutcome) -> Attributes:
    found: Attributes = {conventions.OUTCOME: outcome["status"]}
    for name, value in (
        (conventions.CODE, outcome["code"]),
        (conventions.USER_ID, outcome["user_id"]),
        (conventions.USER_VERSION, outcome["version"]),
    ):
        if value is not None:
            found[name] = value
    return found
