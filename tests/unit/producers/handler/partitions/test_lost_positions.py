"""Committed offsets that a broker has expired: the positions are recovered from the log itself."""

import pytest
from confluent_kafka import KafkaError, TopicPartition

from producers.handler.loop import CommandHandler
from schemas.errors import Misconfigured, Poisoned
from schemas.positions import POSITION_KEY, decode_position
from schemas.topics import COMMANDS, DEAD_LETTERS, EMAILS, HOPS, OUTCOMES
from tests.samples.given import PARTITIONS, address_in, change_email, create, home_of
from tests.unit.producers.handler.in_memory.log import failure
from tests.unit.producers.handler.in_memory.stepping import Cluster, sizes

JANE = "jane@example.com"
AWAY = (home_of(JANE) + 1) % PARTITIONS
FAR = address_in(AWAY)


def settle(cluster: Cluster, *handlers: CommandHandler) -> None:
    """Step until every command and address message is decided."""
    cluster.step_until(cluster.is_settled, *handlers)


def left_and_regained() -> Cluster:
    """Return a log on which Jane left an address of another partition and came back to it."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send(create(JANE, command_id="create"))
    settle(cluster, handler)
    user_id = cluster.read(OUTCOMES)[0][1]["user_id"]
    for n, email in enumerate((FAR, JANE, FAR)):
        cluster.send(change_email(user_id, email, command_id=f"move-{n}"))
        settle(cluster, handler)
    return cluster


@pytest.mark.parametrize("topics", [{HOPS.name}, {COMMANDS.name}, {COMMANDS.name, HOPS.name}])
def test_expired_offsets_are_recovered(topics: set[str], caplog: pytest.LogCaptureFixture) -> None:
    """From the beginning, the old `free` would drop the claim that Jane regained since."""
    cluster = left_and_regained()
    decided, messages = len(cluster.read(OUTCOMES)), len(cluster.read(HOPS))
    committed = cluster.log.committed[cluster.group.name]
    for place in [one for one in committed if one[0] in topics]:
        del committed[place]
    successor = cluster.ready()
    assert "recovered" in caplog.text
    settle(cluster, successor)
    assert (len(cluster.read(OUTCOMES)), len(cluster.read(HOPS))) == (decided, messages)
    cluster.send(create(FAR, command_id="taken"))
    settle(cluster, successor)
    assert cluster.read(OUTCOMES)[-1][1]["code"] == "user_already_exists"
    cluster.assert_log_is_valid()


def test_a_command_without_an_outcome_is_passed_by_a_recovered_position() -> None:
    """Such as one that became a dead letter."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send(create(JANE, command_id="create"))
    settle(cluster, handler)
    cluster.log.append(COMMANDS.name, home_of(JANE), b"foreign", b"no avro")
    settle(cluster, handler)
    cluster.log.committed.clear()
    settle(cluster, cluster.ready())
    assert len(cluster.read(DEAD_LETTERS)) == 1


def test_a_position_whose_outcomes_are_gone_is_uncertain() -> None:
    """Events after it show that commands were decided; where the last of them is, nothing shows."""
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send_creates("first")
    cluster.decide(20, handler)
    cluster.send_creates("second")
    cluster.decide(40, handler)
    cluster.log.committed.clear()
    for number in range(PARTITIONS):
        outcomes = cluster.log.partitions[OUTCOMES.name, number]
        outcomes.low = outcomes.end
    successor = cluster.start()
    with pytest.raises(Misconfigured) as caught:
        cluster.step_until(lambda: False, successor)
    assert caught.value.code == "lost_offsets"
    # Once retention has deleted those commands as well, it begins after them.
    for number in range(PARTITIONS):
        commands = cluster.log.partitions[COMMANDS.name, number]
        commands.low = commands.end
    settle(cluster, cluster.ready())
    assert cluster.read(OUTCOMES) == []


def test_a_log_of_an_earlier_release_without_address_messages_needs_no_offset_for_them() -> None:
    cluster = Cluster()
    cluster.send_creates("u")
    cluster.decide(20, cluster.start())
    cluster.log.remove_key(EMAILS.name, POSITION_KEY)
    committed = cluster.log.committed[cluster.group.name]
    for number in range(PARTITIONS):
        del committed[HOPS.name, number]
    cluster.send_creates("v")
    cluster.decide_exactly_once(40, cluster.start())


def test_one_partition_in_doubt_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    cluster = left_and_regained()
    cluster.log.remove_key(EMAILS.name, POSITION_KEY)
    del cluster.log.committed[cluster.group.name][HOPS.name, AWAY]
    handler = cluster.start()
    cluster.step_until(lambda: f"partition {AWAY} is not decided" in caplog.text, handler)
    cluster.step_until(lambda: sizes(handler) == [PARTITIONS - 1], handler)
    answered = cluster.read(OUTCOMES)
    cluster.send(create(address_in(home_of(JANE)), command_id="other"))
    cluster.step_until(lambda: len(cluster.read(OUTCOMES)) > len(answered), handler)


def test_offsets_of_idle_partitions_are_committed_again() -> None:
    """Before they expire; and past the markers of transactions, which would look like a lag."""
    cluster = left_and_regained()
    assert cluster.lag() > 0
    handler = cluster.ready()
    handler.recommit_seconds = 0.0
    cluster.step_until(lambda: cluster.lag() == 0, handler)
    committed = cluster.log.committed[cluster.group.name]
    before = dict(committed)
    committed.clear()
    handler.run_once()
    assert committed == before


def test_offsets_are_not_committed_again_all_the_time() -> None:
    cluster = Cluster()
    handler = cluster.ready()
    cluster.send_creates("u")
    cluster.decide(20, handler)
    cluster.log.committed.clear()
    for _ in range(3):
        handler.run_once()
    assert not cluster.log.committed[cluster.group.name]


def test_a_message_that_is_not_decided_is_not_passed_with_the_markers() -> None:
    cluster = Cluster()
    handler = cluster.ready()
    handler.recommit_seconds = 0.0
    cluster.send(create(JANE, command_id="create"))
    number = home_of(JANE)
    cluster.clients["a"].consumer.pause([TopicPartition(COMMANDS.name, number)])
    for _ in range(3):
        handler.run_once()
    assert cluster.log.committed[cluster.group.name][COMMANDS.name, number] == 0


def test_an_attempt_to_commit_again_that_fails_is_repeated() -> None:
    """It decides nothing, so nothing is restored."""
    cluster = left_and_regained()
    handler = cluster.ready()
    handler.recommit_seconds = 0.0
    states = [one.state for one in handler._ownership.ready().values()]

    def fail() -> None:
        raise failure(KafkaError._TIMED_OUT, abortable=True)

    def lose() -> None:
        raise failure(KafkaError._TIMED_OUT)

    cluster.log.before("send_offsets_to_transaction", fail)
    cluster.log.before("commit_transaction", lose)
    handler.run_once()
    cluster.step_until(lambda: cluster.lag() == 0, handler)
    assert [one.state for one in handler._ownership.ready().values()] == states


def test_creations_are_not_followed_by_a_position_each() -> None:
    """Their outcomes show how far they are decided, so only the first one records it."""
    cluster = Cluster()
    handler = cluster.ready()
    for n in range(3):
        cluster.send(create(address_in(0, f"n{n}"), command_id=f"c{n}"))
        cluster.decide(n + 1, handler)
    keys = [key for _, key, _ in cluster.log.records(EMAILS.name)]
    assert keys == [POSITION_KEY]


@pytest.mark.parametrize("value", [None, b"", b"no json", b"[]", b"{}", b'{"commands":-1}'])
def test_a_forged_position_is_skipped(value: bytes | None) -> None:
    with pytest.raises(Poisoned) as caught:
        decode_position(value)
    assert caught.value.code == "bad_position"
