"""Measures queries among a million users while events come in and the projectors write them."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Final

from projectors.elasticsearch.search.queries import UserSearch
from projectors.postgres.users.queries import UserQueries
from runtime.settings import Settings
from scripts.bench.event_log import EventWriter, events_of, user_event, user_id_of
from scripts.bench.many_people import ManyPeople
from scripts.bench.our_projectors import filled_models

QUERIES: Final = ("get", "list", "summary", "search", "suggest")
UPDATES_PER_SECOND: Final = 200
_ROUNDS: Final = 400
_WARM_ROUNDS: Final = 50
_LOAD_EVERY_SECONDS: Final = 0.1
_YEARS: Final = 10
_OLDEST: Final = 94
_PREFIX_MOST: Final = 8
_SEED: Final = 20_240_229


@dataclass(frozen=True, slots=True)
class QueryFindings:
    """Milliseconds by query, one mapping a repeat; and what the projectors took to fill the models.

    `resident_mb` is the memory of the projectors once all is in, by read model.
    """

    milliseconds: list[dict[str, list[float]]]
    resident_mb: dict[str, float]


def query_ms(settings: Settings, count: int, repeats: int) -> QueryFindings:
    """Fill both read models with `count` users by their projectors, then ask under a live load."""
    crowd, writer = ManyPeople(), EventWriter(settings)
    writer.write(events_of(crowd.some(count)))
    with (
        filled_models(settings, ("postgres", "elasticsearch"), count) as resident_mb,
        ExitStack() as stack,
    ):
        queries = stack.enter_context(closing(UserQueries(settings)))
        search = stack.enter_context(UserSearch(settings))
        stack.enter_context(_updating(writer, crowd, count))
        ask = _questions(crowd, count, queries, search)
        _rounds(ask, _WARM_ROUNDS)
        return QueryFindings([_rounds(ask, _ROUNDS) for _ in range(repeats)], resident_mb)


@contextmanager
def _updating(writer: EventWriter, crowd: ManyPeople, count: int) -> Iterator[None]:
    """Update users, `UPDATES_PER_SECOND`, while within."""
    stopping = threading.Event()
    versions: dict[int, int] = {}
    chance = random.Random(_SEED)  # noqa: S311 - reproducible, nothing is protected by it

    def run() -> None:
        while not stopping.wait(_LOAD_EVERY_SECONDS):
            some = [
                chance.randrange(count)
                for _ in range(round(UPDATES_PER_SECOND * _LOAD_EVERY_SECONDS))
            ]
            for number in some:
                versions[number] = versions.get(number, 1) + 1
            writer.write(user_event(n, crowd.person(n), versions[n]) for n in dict.fromkeys(some))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _rounds(ask: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Ask each in turn, the next as soon as there is an answer; return milliseconds by query."""
    taken: dict[str, list[float]] = {name: [] for name in ask}
    for _ in range(rounds):
        for name, question in ask.items():
            started = time.perf_counter()
            question()
            taken[name].append((time.perf_counter() - started) * 1000)
    return taken


def _questions(
    crowd: ManyPeople, count: int, queries: UserQueries, search: UserSearch
) -> dict[str, Callable[[], object]]:
    """Return what asks for another user, ages or name each time; the same in every run."""
    chance = random.Random(_SEED)  # noqa: S311 - as above
    texts = _texts(crowd, count)

    def get() -> object:
        number = chance.randrange(count)
        return queries.get_user(user_id_of(number, crowd.person(number)))

    def by_age() -> object:
        youngest = chance.randrange(_OLDEST - _YEARS)
        return queries.get_users_by_age_range(youngest, youngest + _YEARS)

    def suggest() -> object:
        name = crowd.person(chance.randrange(count)).name
        return search.suggest_users(name[: chance.randint(1, _PREFIX_MOST)])

    return {
        "get": get,
        "list": by_age,
        "summary": queries.get_user_summary,
        "search": lambda: search.search_users(next(texts)),
        "suggest": suggest,
    }


def _texts(crowd: ManyPeople, count: int) -> Iterator[str]:
    """Yield what people type: a name, a name with a slip, an address, a last name, in turn."""
    chance = random.Random(_SEED)  # noqa: S311 - as above
    while True:
        persons = [crowd.person(chance.randrange(count)) for _ in range(4)]
        yield persons[0].name
        yield _slipped(persons[1].name, chance)
        yield persons[2].email
        yield persons[3].name.split()[-1]


def _slipped(name: str, chance: random.Random) -> str:
    """Return a name with two neighbouring letters swapped."""
    place = chance.randrange(1, max(2, len(name) - 1))
    return name[:place] + name[place + 1 : place + 2] + name[place] + name[place + 2 :]
