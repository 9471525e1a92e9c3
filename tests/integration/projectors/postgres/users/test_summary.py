"""The summary equals a full recount in every snapshot."""

import random
import threading
from functools import partial

import pytest

from runtime.settings import Settings
from tests.depth import depth
from tests.integration.forged_log import ForgedLog
from tests.integration.projectors.postgres.users.user_queries import recounts
from tests.observed.catch_up import wait_caught_up
from tests.observed.readers import Readers
from tests.started.processes import Rollbook, eventually

USERS = depth(1_500, 3_000)
QUERIES = depth(24, 300)
PAUSE_SECONDS = 0.05
KINDS = ("UserDeleted", "UserErased")


@pytest.fixture
def forged(settings: Settings) -> ForgedLog:
    """A log with users."""
    log = ForgedLog(settings)
    log.users(0, USERS)
    return log


class Load:
    """Forges events until the `with` block ends: newer and older versions, and deletions."""

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
        # Slow enough for the projectors to keep up: a version that lags cannot be swapped in.
        while not self._stopping.wait(PAUSE_SECONDS):
            version += 1
            first, count = chance.randrange(USERS), chance.randint(1, 400)
            self._forged.users(first, count, version, age=chance.randint(0, 100))
            gone = chance.randrange(USERS)
            self._forged.gone(gone, chance.randint(1, 100), version, chance.choice(KINDS))
            older = chance.randint(1, version)
            self._forged.users(gone, chance.randint(1, 300), older, age=chance.randint(0, 100))


def test_the_summary_is_exact_in_every_snapshot(
    forged: ForgedLog, settings: Settings, rollbook: Rollbook
) -> None:
    """Two projectors share the partitions; one is killed, and versions are swapped."""
    one, other = rollbook.start_projector("postgres"), rollbook.start_projector("postgres")
    for process in (one, other):
        process.wait_for("assigned: partitions [")
    wait_caught_up(settings, "postgres")
    with Load(forged), Readers(*[partial(recounts, settings)] * 4) as readers:
        eventually(readers.have_asked(QUERIES), what="queries")
        assert rollbook.json("projector", "rebuild", "postgres")["version"] == 2
        assert rollbook.run("projector", "swap", "postgres", "2").returncode == 0
        eventually(readers.have_asked(QUERIES), what="queries")
        one.kill()
        assert rollbook.run("projector", "rollback", "postgres").returncode == 0
        eventually(readers.have_asked(QUERIES), what="queries")
    wait_caught_up(settings, "postgres")
    with Readers(partial(recounts, settings)) as readers:
        eventually(readers.have_asked(1))
    assert rollbook.json("users", "summary")["total_users"] == len(forged.versions)
