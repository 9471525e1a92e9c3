"""Callers of the query service: gets and searches, with and without tokens, and streams of events.

What each was answered is kept, to be compared with the log once everything is decided.
"""

import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import chain
from typing import Any, Final, NamedTuple

import httpx2

from runtime.kafka.clients import end_reader
from runtime.settings import Settings
from runtime.topics.log_ranges import log_ranges, read_topic
from schemas.topics import HISTORY
from tests.faults.load.commands import Commands, KnownUser
from tests.started.processes import eventually
from tests.started.services import Service

# What the callers of the service ask, and who needs which store.
GETS: Final = "gets"
SEARCHES: Final = "searches"
EVENTS: Final = "events"
_RECENT_USERS: Final = 30
_PAUSE_SECONDS: Final = 0.1
# After so many events, a reader disconnects and continues: the network may end any stream.
_EVENTS_PER_STREAM: Final = 60


class Seen(NamedTuple):
    """What a query with the token of `promised` showed: a version, or None for no such user."""

    query: str
    promised: KnownUser
    version: int | None
    answered_at: int


class Queries:
    """Threads that ask about users that `commands` knows, and threads that read all events.

    For each kind of query, one thread asks with tokens and one without.
    """

    def __init__(
        self, service: Service, commands: Commands, seed: int, *, streams: int = 2
    ) -> None:
        self.answered: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.seen: list[Seen] = []
        self.flaws: list[str] = []
        self.service = service
        self._commands = commands
        self._stop = threading.Event()
        self.streams = [EventReader(self) for _ in range(streams)]
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(kind, with_token, random.Random(f"{seed}-{kind}-{with_token}")),
                daemon=True,
            )
            for kind in (GETS, SEARCHES)
            for with_token in (False, True)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Return once each caller has its last answer; streams continue."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """Stop, and open no further stream; one that is open ends when the service stops."""
        self.stop()
        for stream in self.streams:
            stream.stop_after_this()

    def count(self, kind: str) -> int:
        """Return how many queries of this kind were answered, or how many events arrived."""
        if kind == EVENTS:
            return sum(len(stream.places) for stream in self.streams)
        return self.answered[kind]

    def wait_for(self, *kinds: str, count: int = 5) -> None:
        """Wait until so many more queries of each kind are answered."""
        wanted = {kind: self.count(kind) + count for kind in kinds}
        eventually(
            lambda: all(self.count(kind) >= many for kind, many in wanted.items()),
            90,
            f"{count} more of each of {kinds}",
        )

    def wait_for_refusals(self, kind: str, count: int = 3) -> None:
        """Wait until so many more queries of a kind are refused, because a store is unavailable."""
        wanted = self.refused[kind] + count
        eventually(lambda: self.refused[kind] >= wanted, 90, f"{count} {kind} are refused")

    def less_than_promised(self, erased_at: Mapping[str, int]) -> list[Seen]:
        """Return the answers that showed less than their token promised."""
        return [
            seen
            for seen in self.seen
            if (
                erased_at.get(seen.promised.user_id, seen.answered_at) >= seen.answered_at
                if seen.version is None
                else seen.version < seen.promised.version
            )
        ]

    def _run(self, kind: str, with_token: bool, chance: random.Random) -> None:  # noqa: FBT001
        ask = self._get if kind == GETS else self._search
        while not self._stop.wait(_PAUSE_SECONDS):
            if not (recent := self._commands.known[-_RECENT_USERS:]):
                continue
            user = chance.choice(recent)
            try:
                answer = ask(user, {"rollbook-after": user.token} if with_token else {})
            except httpx2.TransportError:  # the service was killed
                self.refused[kind] += 1
                continue
            if answer.status_code in {200, 404}:
                self.answered[kind] += 1
                if with_token:
                    version = _version(answer, user.user_id)
                    self.seen.append(Seen(kind, user, version, time.time_ns() // 1_000_000))
            elif answer.status_code == 503:
                self.refused[kind] += 1
                self._stop.wait(min(1, int(answer.headers["retry-after"])))
            elif not (with_token and answer.status_code == 504):
                self.flaws.append(f"{kind}: {answer.status_code} {answer.text}")

    def _get(self, user: KnownUser, headers: dict[str, str]) -> Any:
        return self.service.http.get(f"/users/{user.user_id}", headers=headers)

    def _search(self, user: KnownUser, headers: dict[str, str]) -> Any:
        return self.service.http.post("/search", json={"text": user.email}, headers=headers)


def _version(answer: Any, user_id: str) -> int | None:
    """Return the version of the user that an answer shows, None if it does not show the user."""
    if answer.status_code == 404:
        return None
    found = answer.json()
    users = found.get("users", [found])
    return next((int(user["version"]) for user in users if user["user_id"] == user_id), None)


class EventReader:
    """A thread that reads all events, and continues a stream that ended as browsers do.

    `places` has the partition and offset of each record in the order in which they came.
    """

    def __init__(self, queries: Queries) -> None:
        self.places: list[tuple[int, int]] = []
        self._queries = queries
        self._last_id = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait_for(self, count: int) -> None:
        """Return once it has so many events."""
        eventually(lambda: len(self.places) >= count, 90, f"a stream of {count} events")

    def stop_after_this(self) -> None:
        """Open no further stream."""
        self._stop.set()

    def join(self) -> None:
        """Return once its stream has ended, as it does when the service stops."""
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            headers = {"last-event-id": self._last_id} if self._last_id else {}
            pause_seconds = 0.1
            try:
                with self._queries.service.http.stream(
                    "GET", "/events?from=beginning", headers=headers, timeout=20
                ) as answer:
                    if answer.status_code == 200:
                        self._read(answer.iter_lines())
                    elif answer.status_code == 503:
                        pause_seconds = min(1, int(answer.headers["retry-after"]))
                    else:
                        self._queries.flaws.append(
                            f"events: {answer.status_code} {answer.read()!r}"
                        )
            except httpx2.TransportError:
                pass
            self._stop.wait(pause_seconds)

    def _read(self, lines: Iterator[str]) -> None:
        """Read a stream; a block that is not complete does not count."""
        event_id, place, count = "", None, 0
        for line in lines:
            name, _, value = line.partition(": ")
            if name == "id":
                event_id = value
            elif name == "data":
                record = json.loads(value)
                place = (record["partition"], record["offset"])
            elif not line and event_id:
                self._last_id = event_id
                if place is not None:
                    self.places.append(place)
                    count += 1
                place = None
                if self._stop.is_set() or count >= _EVENTS_PER_STREAM:
                    return


def event_places(settings: Settings) -> dict[int, list[int]]:
    """Return partition → the offsets of all events on the log, tombstones too."""
    found: dict[int, list[int]] = defaultdict(list)
    with closing(end_reader(settings)) as consumer:
        ranges = log_ranges(settings, HISTORY, range(settings.partitions))
        for message in chain.from_iterable(read_topic(settings, consumer, HISTORY, ranges)):
            found[message.partition() or 0].append(message.offset() or 0)
    return found


def by_partition(places: list[tuple[int, int]]) -> dict[int, list[int]]:
    """Return partition → offsets, in the order in which they came."""
    found: dict[int, list[int]] = defaultdict(list)
    for partition, offset in places:
        found[partition].append(offset)
    return found
