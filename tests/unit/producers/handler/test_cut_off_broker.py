"""A broker that others have given up shows the log as it was: no handler decides on that."""

from schemas.topics import EMAILS, EVENTS, OUTCOMES
from tests.samples.given import address_in, create
from tests.unit.producers.handler.in_memory.stepping import Cluster

JANE = address_in(0, "jane")


def restored_topics(cluster: Cluster) -> dict[tuple[str, int], int]:
    """Return the present ends of what a restore reads of partition 0."""
    topics = (EVENTS, EMAILS, OUTCOMES)
    return {(one.name, 0): cluster.log.partitions[one.name, 0].end for one in topics}


def test_a_restore_waits_for_what_the_broker_that_it_asks_does_not_show() -> None:
    """The address was taken after the broker was cut off: nobody else may get it."""
    cluster = Cluster()
    cluster.log.copies = 3
    first = cluster.ready("a")
    cluster.send_creates("u")
    cluster.decide(20, first)
    before = restored_topics(cluster)
    cluster.send(create(JANE, command_id="taken"))
    cluster.decide(21, first)
    cluster.log.ends_when_cut_off = before
    successor = cluster.start("a")
    cluster.send(create(JANE, command_id="again"))
    for _ in range(100):
        successor.run_once()
    assert 0 not in successor._ownership.ready()
    cluster.log.ends_when_cut_off = {}
    cluster.decide(22, successor)
    cluster.assert_log_is_valid()
    answers = {answer["command_id"]: answer["code"] for _, answer in cluster.read(OUTCOMES)}
    assert (answers["taken"], answers["again"]) == (None, "user_already_exists")


def test_a_single_broker_shows_everything() -> None:
    """A restore of a log without copies appends nothing."""
    cluster = Cluster()
    first = cluster.ready("a")
    cluster.send_creates("u")
    cluster.decide(20, first)
    before = restored_topics(cluster)
    cluster.ready("a")
    assert restored_topics(cluster) == before
