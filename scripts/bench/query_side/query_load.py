"""Measures queries, and when commands become visible, among many users under a load of updates."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Producer

from producers.client.build import command_partition, update_command
from projectors.elasticsearch.search.queries import UserSearch
from projectors.postgres.users.queries import UserQueries
from runtime.kafka.clients import producer_config
from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.topics import COMMANDS
from scripts.bench.query_side.our_projectors import filled_models
from scripts.bench.query_side.visible import STORES, visible_ms
from scripts.bench.workload.event_log import EventWriter, events, user_id_of
from scripts.bench.workload.people import person
from scripts.bench.workload.processes import commit_beginning, running_handlers

QUERIES: Final = ("get", "list", "summary", "search", "suggest")
UPDATES_PER_SECOND: Final = 200
READERS: Final = (8, 32)
_READER_SECONDS: Final = 5.0
_ROUNDS: Final = 400
_WARM_UP_ROUNDS: Final = 50
_LOAD_EVERY_SECONDS: Final = 0.1
_YEARS: Final = 10
_OLDEST: Final = 94
_PREFIX_MOST: Final = 8
_SEED: Final = 20_240_229

Milliseconds = dict[str, list[float]]
Questions = Mapping[str, Callable[[], object]]


@dataclass(frozen=True, slots=True)
class ReadersFindings:
    """What several readers at the same time got: all queries per second, and ms by query."""

    per_second: float
    query_ms: Milliseconds


@dataclass(frozen=True, slots=True)
class QueryFindings:
    """What one run among many users measured.

    `resident_mb` is the memory of each projector once it had filled its model. The others are
    milliseconds, one mapping per repeat: by query, and by store until a command is visible.
    `readers` has what several readers at the same time got, by their number, for each repeat.
    """

    resident_mb: dict[str, float]
    query_ms: list[Milliseconds] = field(default_factory=list)
    visible_ms: list[Milliseconds] = field(default_factory=list)
    readers: list[dict[int, ReadersFindings]] = field(default_factory=list)


def measure_under_load(settings: Settings, count: int, repeats: int) -> QueryFindings:
    """Have the projectors fill both models with `count` users, then measure under update commands.

    The whole system runs: one handler decides 200 updates per second, both projectors apply them.
    """
    EventWriter(settings).write(events(count))
    commit_beginning(settings)
    with filled_models(settings, STORES, count) as resident_mb, ExitStack() as stack:
        queries = stack.enter_context(closing(UserQueries(settings)))
        search = stack.enter_context(UserSearch(settings))
        stack.enter_context(running_handlers(settings))
        stack.enter_context(_updating(settings, count))
        ask = _questions(count, queries, search)
        _rounds(ask, _WARM_UP_ROUNDS)
        found = QueryFindings(resident_mb)
        for repeat in range(repeats):
            found.query_ms.append(_rounds(ask, _ROUNDS))
            found.visible_ms.append(visible_ms(settings, f"visible{repeat}"))
            found.readers.append({one: _several(settings, count, one) for one in READERS})
        return found


def _several(settings: Settings, count: int, readers: int) -> ReadersFindings:
    """Have so many threads ask for a while, each over connections of its own."""
    with ExitStack() as stack, ThreadPoolExecutor(readers) as threads:
        asking = []
        for number in range(readers):
            queries = stack.enter_context(closing(UserQueries(settings)))
            search = stack.enter_context(UserSearch(settings))
            asking.append(_questions(count, queries, search, number))
        list(threads.map(lambda ask: _rounds(ask, 1), asking))  # connects
        began = time.perf_counter()
        found: Milliseconds = {name: [] for name in QUERIES}
        for taken in threads.map(lambda ask: _until(ask, began + _READER_SECONDS), asking):
            for name, milliseconds in taken.items():
                found[name] += milliseconds
        asked = sum(map(len, found.values()))
        return ReadersFindings(asked / (time.perf_counter() - began), found)


def _until(ask: Questions, ends: float) -> Milliseconds:
    """Run the queries in turn until the clock shows `ends`."""
    found: Milliseconds = {name: [] for name in ask}
    while time.perf_counter() < ends:
        for name, taken in _rounds(ask, 1).items():
            found[name] += taken
    return found


@contextmanager
def _updating(settings: Settings, count: int) -> Iterator[None]:
    """Send `UPDATES_PER_SECOND` commands that give random users another age."""
    stopping = threading.Event()
    chance = random.Random(_SEED)  # noqa: S311 - reproducible, not a secret
    encode = Registry(settings).codec(COMMANDS.schema).encode
    producer, topic = Producer(producer_config(settings)), settings.named(COMMANDS.name)

    def run() -> None:
        while not stopping.wait(_LOAD_EVERY_SECONDS):
            for _ in range(round(UPDATES_PER_SECOND * _LOAD_EVERY_SECONDS)):
                number = chance.randrange(count)
                user_id = user_id_of(number, person(number))
                command = update_command(user_id, age=chance.randrange(_OLDEST))
                partition = command_partition(command, settings.partitions)
                producer.produce(topic, encode(command), command["command_id"], partition)
            producer.poll(0)
        producer.flush()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _rounds(ask: Questions, rounds: int) -> Milliseconds:
    """Run the queries in turn, without pauses; return milliseconds by query."""
    taken: Milliseconds = {name: [] for name in ask}
    for _ in range(rounds):
        for name, question in ask.items():
            started = time.perf_counter()
            question()
            taken[name].append((time.perf_counter() - started) * 1000)
    return taken


def _questions(count: int, queries: UserQueries, search: UserSearch, reader: int = 0) -> Questions:
    """Return queries that vary user, age or name at each call; for each reader others."""
    chance = random.Random(_SEED + reader)  # noqa: S311 - as above
    texts = _texts(count, chance)

    def get() -> object:
        number = chance.randrange(count)
        return queries.get_user(user_id_of(number, person(number)))

    def by_age() -> object:
        youngest = chance.randrange(_OLDEST - _YEARS)
        return queries.get_users_by_age_range(youngest, youngest + _YEARS)

    def suggest() -> object:
        name = person(chance.randrange(count)).name
        return search.suggest_users(name[: chance.randint(1, _PREFIX_MOST)])

    return {
        "get": get,
        "list": by_age,
        "summary": queries.get_user_summary,
        "search": lambda: search.search_users(next(texts)),
        "suggest": suggest,
    }


def _texts(count: int, chance: random.Random) -> Iterator[str]:
    """Yield what people type: a name, a name with a slip, an address, a last name, in turn."""
    while True:
        some = [person(chance.randrange(count)) for _ in range(4)]
        yield some[0].name
        yield swapped(some[1].name, chance)
        yield some[2].email
        yield some[3].name.split()[-1]


def swapped(text: str, chance: random.Random) -> str:
    """Return `text` with two neighbouring letters swapped, not the first one."""
    place = chance.randrange(1, max(2, len(text) - 1))
    return text[:place] + text[place + 1 : place + 2] + text[place] + text[place + 2 :]
