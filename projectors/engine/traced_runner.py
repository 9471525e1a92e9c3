"""A runner that shows, in the trace of each event, when a read model applied it."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from confluent_kafka import Message
from opentelemetry.trace import Span

from projectors.contract.read_model import ReadModel
from projectors.engine.runner import Runner, _Decoding
from projectors.engine.subscription import Subscription, group_of
from projectors.log.records import Record
from runtime.settings import Settings
from runtime.tracing import conventions
from runtime.tracing.context import context_of, is_unsampled, trace_headers
from runtime.tracing.conventions import Attributes
from runtime.tracing.tracing import BatchSpans, Tracing, fail, kind_of

# A projector that applies old events again (for a new read model, or because a store lost writes)
# must not add to the traces of requests that were answered long ago.
_OLDEST_SECONDS: Final = 3600.0


class TracedRunner(Runner):
    """A `Runner` that reads the contexts of events.

    The span of an event begins with its batch and ends when the read model has stored the batch, or
    when its dead letter is written.
    """

    def __init__(
        self,
        settings: Settings,
        model: ReadModel,
        subscription: Subscription,
        *,
        tracing: Tracing,
        **options: Any,
    ) -> None:
        super().__init__(settings, model, subscription, **options)
        self._tracing = tracing
        self._topic = settings.named(model.source.topic.name)
        self._group = settings.named(group_of(model.name, model.version))
        self._attributes: Attributes = {
            conventions.READ_MODEL: model.name,
            conventions.READ_MODEL_VERSION: model.version,
        }

    def _apply(self, batch: _Decoding) -> None:
        spans = self._tracing.batch(self._topic, self._group)
        # If they cannot be decoded yet, their spans have no attributes from the events.
        records = [] if batch.records.exception() else batch.records.result()
        begun = list(self._begin(spans, batch.messages, records))
        try:
            super()._apply(batch)
        except BaseException as error:
            spans.end(len(batch.messages), self._attributes, kind_of(error))
            raise
        for place, span in begun:
            poison = records[place].poison if records else None
            if poison is not None:
                fail(span, poison.code)
        spans.end(len(batch.messages), self._attributes)

    def _begin(
        self, spans: BatchSpans, messages: Sequence[Message], records: Sequence[Record]
    ) -> Iterator[tuple[int, Span]]:
        """Begin the spans of the events that carry a context; yield their place in the batch."""
        now_ns = time.time_ns()
        oldest_ms = now_ns / 1e6 - _OLDEST_SECONDS * 1000
        for place, message in enumerate(messages):
            headers = trace_headers(message)
            if not headers or is_unsampled(headers) or message.timestamp()[1] < oldest_ms:
                continue
            context = context_of(headers)
            if context is None:
                continue
            found = _event_attributes(records[place]) if records else {}
            at = message.partition() or 0, message.offset() or 0
            span = spans.begin(context, now_ns, self._topic, at, found | self._attributes)
            if span is not None:
                yield place, span


def _event_attributes(record: Record) -> Attributes:
    event = record.event
    if event is None:
        return {}
    return {
        conventions.COMMAND_ID: event["command_id"],
        conventions.USER_ID: event["user_id"],
        conventions.USER_VERSION: event["version"],
    }
