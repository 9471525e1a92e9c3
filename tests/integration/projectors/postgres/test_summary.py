"""The summary equals a full recomputation at every moment that one statement can see."""

import random
import threading
from functools import partial

import pytest

from projectors.postgres.store.database import Database
from runtime.settings import Settings
from tests.catch_up import wait_caught_up
from tests.depth import depth
from tests.integration.forged_log import ForgedLog
from tests.processes import Rollbook, eventually
from tests.readers import Question, Readers, Seen

USERS = depth(1_500, 3_000)
QUESTIONS = depth(100, 300)
PAUSE_SECONDS = 0.05
KINDS = ("UserDeleted", "UserErased")

# One statement is one snapshot, also under READ COMMITTED, which it runs in.
_COMPARED = """
SELECT s.total_users, r.total, s.average_age, r.average, s.users_by_age_group::jsonb,
       jsonb_build_object('teen', r.teens, 'adult', r.adults, 'senior', r.seniors),
       r.updated <= s.last_updated, (extract(epoch FROM s.last_updated) * 1000)::bigint
FROM {schema}.user_summary s, (
    SELECT count(*) AS total, avg(age) AS average, max(updated_at) AS updated,
           count(*) FILTER (WHERE age < 20) AS teens,
           count(*) FILTER (WHERE age BETWEEN 20 AND 64) AS adults,
           count(*) FILTER (WHERE age > 64) AS seniors
    FROM {schema}.user_views
) r"""


@pytest.fixture
def forged(settings: Settings) -> ForgedLog:
    """A log with users."""
    log = ForgedLog(settings)
    log.users(0, USERS)
    return log


class Load:
    """Forges events without an end, while within: new, newer, gone, and older ones once more."""

    def __init__(self, forged: ForgedLog) -> None:
        self._forged = forged
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._forge)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _forge(self) -> None:
        chance = random.Random(11)
        version = 1
        # At a pace that leaves the projectors some of the machine: behind the log no swap is made.
        while not self._stopping.wait(PAUSE_SECONDS):
            version += 1
            first, count = chance.randrange(USERS), chance.randint(1, 400)
            self._forged.users(first, count, version, age=chance.randint(0, 100))
            gone = chance.randrange(USERS)
            self._forged.gone(gone, chance.randint(1, 100), version, chance.choice(KINDS))
            older = chance.randint(1, version)
            self._forged.users(gone, chance.randint(1, 300), older, age=chance.randint(0, 100))


def compares(settings: Settings) -> Question:
    """Compare the summary with a recomputation, in one statement."""
    database = Database(settings)
    statement = database.statement(_COMPARED)

    def ask() -> Seen:
        with database.session() as connection:
            [row] = connection.execute(statement).fetchall()
        *figures, never_behind, updated = row
        assert figures[0::2] == figures[1::2], figures
        assert never_behind
        return {"last updated": updated}

    return ask, database.close


def test_the_summary_is_exact_in_every_snapshot(
    forged: ForgedLog, settings: Settings, rollbook: Rollbook
) -> None:
    """While two projectors share the partitions, one is killed, and versions are swapped."""
    one, other = rollbook.start_projector("postgres"), rollbook.start_projector("postgres")
    for process in (one, other):
        process.wait_for("assigned: partitions [")
    wait_caught_up(settings, "postgres")
    with Load(forged), Readers(*[partial(compares, settings)] * 4) as readers:
        eventually(readers.have_asked(QUESTIONS), what="asked")
        assert rollbook.json("projector", "rebuild", "postgres")["version"] == 2
        assert rollbook.run("projector", "swap", "postgres", "2").returncode == 0
        eventually(readers.have_asked(QUESTIONS), what="asked")
        one.kill()
        assert rollbook.run("projector", "rollback", "postgres").returncode == 0
        eventually(readers.have_asked(QUESTIONS), what="asked")
    wait_caught_up(settings, "postgres")
    with Readers(partial(compares, settings)) as readers:
        eventually(readers.have_asked(1))
    assert rollbook.json("users", "summary")["total_users"] == len(forged.versions)
