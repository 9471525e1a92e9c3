"""Streams of events from the log, each with its own reader in its own thread."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from projectors.log.event_log import LogRecord, Start, read_log, start_offsets
from projectors.log.lines import json_line
from projectors.service.api.answers import EVENT_STREAM, NDJSON, Stream, sse
from projectors.service.event_ids import read_event_id, write_event_id
from runtime.kafka.registry import Registry
from runtime.metrics.failures import count_failure
from runtime.process import Backoff
from runtime.settings import Settings
from runtime.topics.admin import check_topics
from schemas.coding.codec import RecordCodec
from schemas.errors import Forbidden, Unavailable
from schemas.identity import partition_of, user_shard
from schemas.records import UserEvent
from schemas.topics import HISTORY

log = logging.getLogger(__name__)

_MOST_STREAMS: Final = 100
# Proxies cut connections that are silent for a minute. A browser also learns where to continue.
_SILENCE_SECONDS: Final = 15.0
_STEP_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Wanted:
    """The events that a stream has; `types` empty for all. `limit` counts events."""

    start: Start
    last_event_id: str | None
    user_id: str | None
    types: Collection[str]
    limit: int | None
    follow: bool

    def has(self, record: LogRecord[UserEvent]) -> bool:
        """Return whether the stream has a record; one that cannot be read has no type."""
        key, event = record.key or b"", record.event
        if self.user_id is not None and not key.startswith(f"{self.user_id}:".encode()):
            return False
        return not self.types or (event is not None and event["type"] in self.types)


class Feed:
    """Opens streams of the events in `user-history`, at most a hundred at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # For all streams: once it has the schema, they need no registry.
        self._registry = Registry(settings)
        self._streams = 0

    async def open(self, wanted: Wanted, stopping: asyncio.Event, *, as_sse: bool) -> Stream:
        """Return a stream that ends when the service stops: its reader continues elsewhere.

        Raises `Unavailable`, `Misconfigured`, `Rejected` (`invalid_event_id`).
        """
        if self._streams >= _MOST_STREAMS:
            raise Unavailable(
                f"{_MOST_STREAMS} streams of events are open",
                code="service_busy",
                next_step="try again later, or ask another instance",
            )
        thread = ThreadPoolExecutor(1, thread_name_prefix="events")
        self._streams += 1
        try:
            loop = asyncio.get_running_loop()
            reading = await loop.run_in_executor(
                thread, _Reading, self._settings, self._registry, wanted
            )
        except BaseException:
            self._end(thread)
            raise

        def end() -> None:
            thread.submit(reading.close)
            self._end(thread)

        if as_sse:
            return Stream(_as_sse(reading, thread, stopping), EVENT_STREAM, end)
        return Stream(_as_lines(reading, thread, stopping), NDJSON, end)

    def _end(self, thread: ThreadPoolExecutor) -> None:
        self._streams -= 1
        thread.shutdown(wait=False)


async def _as_sse(
    reading: "_Reading", thread: ThreadPoolExecutor, stopping: asyncio.Event
) -> AsyncIterator[bytes]:
    yield b"retry: 1000\n" + reading.place()
    told_at = time.monotonic()
    async for events in _batches(reading, thread, stopping):
        if events:
            yield b"".join(sse(line, event_id) for line, event_id in events)
        elif time.monotonic() - told_at > _SILENCE_SECONDS:
            yield reading.place()
        else:
            continue
        told_at = time.monotonic()


async def _as_lines(
    reading: "_Reading", thread: ThreadPoolExecutor, stopping: asyncio.Event
) -> AsyncIterator[bytes]:
    async for events in _batches(reading, thread, stopping):
        if events:
            yield "".join(f"{line}\n" for line, _ in events).encode()


async def _batches(
    reading: "_Reading", thread: ThreadPoolExecutor, stopping: asyncio.Event
) -> AsyncIterator[list[tuple[str, str]]]:
    """Yield events as lines of JSON with their ids, and nothing about every 0.2 s if none come."""
    loop = asyncio.get_running_loop()
    while not (reading.is_over or stopping.is_set()):
        yield await loop.run_in_executor(thread, reading.next_events)


class _Reading:
    """Reads the log for one stream. Blocks; for one thread.

    A stream that follows the log waits for servers and permissions, and then continues.
    """

    def __init__(self, settings: Settings, registry: Registry, wanted: Wanted) -> None:
        self.is_over = False
        self._wanted = wanted
        self._shown = 0
        self._settings = settings
        self._backoff, self._continue_at = Backoff(), 0.0
        self._topic_id = check_topics(settings)[HISTORY.name]
        partitions = list(range(settings.partitions))
        if wanted.user_id is not None:
            partitions = [partition_of(user_shard(wanted.user_id), settings.partitions)]
        self._partitions = partitions
        start = wanted.start
        if wanted.last_event_id is not None:
            start = read_event_id(wanted.last_event_id, self._topic_id, partitions)
        self._offsets = start_offsets(settings, HISTORY, partitions, start)
        self._codec: RecordCodec[UserEvent] = registry.codec(HISTORY.schema)
        self._batches = self._read()

    def _read(self) -> Generator[list[LogRecord[UserEvent]], None, None]:
        """Return what comes behind the last event; it is opened with the first batch."""
        start, follow = dict(self._offsets), self._wanted.follow
        return read_log(
            self._settings, self._codec, HISTORY, self._partitions, start, follow=follow
        )

    def place(self) -> bytes:
        """Return a server-sent event without data: it only says where the stream continues."""
        return f"id: {write_event_id(self._topic_id, self._offsets)}\n\n".encode()

    def next_events(self) -> list[tuple[str, str]]:
        """Return the next events, each as JSON and with its id; sets `is_over` after the last."""
        events: list[tuple[str, str]] = []
        batch = self._next_batch()
        if batch is None:
            self.is_over = True
        for record in batch or ():
            self._offsets[record.partition] = record.offset + 1
            if self._wanted.has(record):
                events.append((json_line(record), write_event_id(self._topic_id, self._offsets)))
                self._shown += 1
                if self._shown == self._wanted.limit:
                    self.is_over = True
                    break
        return events

    def _next_batch(self) -> list[LogRecord[UserEvent]] | None:
        if time.monotonic() < self._continue_at:
            time.sleep(_STEP_SECONDS)
            return []
        try:
            batch = next(self._batches, None)
        except (Unavailable, Forbidden) as error:
            if not self._wanted.follow:  # to end would look as if this were all
                raise
            seconds = self._backoff.after(error)
            count_failure(error, is_retried=True)
            log.warning("a stream of events waits: %s; trying again in %.1f s", error, seconds)
            self._continue_at = time.monotonic() + seconds
            self._batches = self._read()
            return []
        self._backoff.reset()
        return batch

    def close(self) -> None:
        """Close the connections."""
        self._batches.close()
