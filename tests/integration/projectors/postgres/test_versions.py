"""Versions in PostgreSQL, beyond what every read model promises."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from projectors.contract.read_model import Advance, Position
from projectors.postgres.store.copy_rows import copy_rows
from projectors.postgres.store.versions import PostgresVersions
from projectors.postgres.users.writer import _COPY, pack_user, postgres_versions
from projectors.promises.events import user_event, user_id
from runtime.settings import Settings
from schemas.identity import partition_of, user_shard
from tests.integration.projectors.postgres.user_queries import USERS
from tests.read_models import OpenVersion


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "building"])
def test_writers_of_different_partitions_do_not_wait_for_each_other(
    settings: Settings, versions: PostgresVersions, *, finished: bool
) -> None:
    """One is in the middle of a transaction while the other commits two."""
    number = 1 if finished else versions.create()
    near, far = ([n for n in range(USERS) if partition(n, settings) == p] for p in (0, 1))
    one: Any = versions.open(number)
    step = Advance(None, Position("topic", 1, 0))
    with (
        closing(one),
        OpenVersion(postgres_versions(settings), number) as other,
        ThreadPoolExecutor(1) as thread,
    ):
        with one.step({1: step}) as cursor:
            copy_rows(cursor, _COPY, [pack_user(user_event(n)) for n in far])
            cursor.execute(one._apply)
            for version in (1, 2):
                thread.submit(other.write, *[user_event(n, version) for n in near]).result(20)
        assert one.checkpoint() == {0: other.position, 1: step.after}


def partition(number: int, settings: Settings) -> int:
    """Return the partition of user `number`."""
    return partition_of(user_shard(user_id(number)), settings.partitions)
