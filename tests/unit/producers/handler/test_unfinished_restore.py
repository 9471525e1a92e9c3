"""A handler decides nothing in a partition that a restore from a backup has not finished."""

import pytest

from schemas.errors import Misconfigured
from schemas.formats import UNFINISHED_RESTORE, mark_key
from schemas.records import LogFormat
from schemas.topics import EVENTS, OUTCOMES
from tests.samples.codecs import codec
from tests.samples.given import PARTITIONS
from tests.unit.producers.handler.in_memory.stepping import Cluster, sizes


def mark(cluster: Cluster, number: int, log_format: int) -> None:
    """Put a mark on the log, as a restore does."""
    record: LogFormat = {"format": log_format, "finalised_at": 0, "finalised_by": "restore-1"}
    key = mark_key(number, PARTITIONS).encode()
    cluster.log.append(EVENTS.name, number, key, codec("log_format").encode(record))


def test_the_partition_waits_until_the_mark_is_replaced() -> None:
    """The others are decided meanwhile."""
    cluster = Cluster()
    mark(cluster, 2, UNFINISHED_RESTORE)
    handler = cluster.start()
    cluster.step_until(lambda: sizes(handler) == [PARTITIONS - 1], handler)
    cluster.send_creates("some")
    for _ in range(20):
        handler.run_once()
    assert {number for number, _ in cluster.read(OUTCOMES)} == {0, 1, 3}
    mark(cluster, 2, 1)
    handler = cluster.ready()  # started again
    cluster.decide_exactly_once(20, handler)


def test_a_handler_without_another_partition_ends_with_the_reason() -> None:
    cluster = Cluster()
    for number in range(PARTITIONS):
        mark(cluster, number, UNFINISHED_RESTORE)
    handler = cluster.start()
    with pytest.raises(Misconfigured, match="is being restored from a backup") as error:
        cluster.step_until(lambda: False, handler)
    assert error.value.code == "unfinished_restore"
