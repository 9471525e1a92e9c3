"""What a handler relies on of its group when members die and return, and of retention."""

from confluent_kafka import KafkaException, TopicPartition

from tests.integration.producers.handler.cluster_scenarios import (
    PARTITIONS,
    Broker,
    Membership,
    Seen,
    poll_until,
)


def the_partitions_of_a_dead_member_move_once_its_session_ends(broker: Broker) -> Seen:
    """A static member that closes has only died: the group keeps its partitions for it."""
    first, second = two_members(broker)
    before = broker.clients("c").unassigned()
    second.consumer.close()
    dead = broker.clients("c").unassigned()
    broker.end_session("b")
    poll_until(lambda: len(first.owned) == PARTITIONS, first)
    after = broker.clients("c").unassigned()
    first.consumer.close()
    return [first.calls, second.calls, before, dead, after]


def a_member_that_returns_within_its_session_gets_what_it_had(broker: Broker) -> Seen:
    """There is no rebalance: the other member is not told anything."""
    first, second = two_members(broker)
    had = set(second.owned)
    second.consumer.close()
    again = Membership(broker.clients("b"), broker.commands)
    poll_until(lambda: len(again.owned) == 2, first, again)
    seen: Seen = [again.owned == had, first.calls, again.calls]
    for member in (first, again):
        member.consumer.close()
    return seen


def two_members(broker: Broker) -> tuple[Membership, Membership]:
    """Return members `a` and `b`, which own half of the partitions each."""
    first = Membership(broker.clients("a"), broker.commands)
    poll_until(lambda: len(first.owned) == PARTITIONS, first)
    second = Membership(broker.clients("b"), broker.commands)
    poll_until(lambda: len(first.owned) == len(second.owned) == 2, first, second)
    return first, second


def what_can_be_read_again_after_retention_has_passed_a_position(broker: Broker) -> Seen:
    """Seeking is refused until the partition is assigned again (`OwnedPartition.read_again`)."""
    for n in range(4):
        broker.append(broker.commands, b"%d" % n)
    broker.delete_before(broker.commands, 2)
    member = Membership(broker.clients("a"), broker.commands)
    poll_until(lambda: member.errors, member)
    place = TopicPartition(broker.commands, 0, 2)
    seen: Seen = []
    try:
        member.consumer.seek(place)
    except KafkaException as error:
        seen.append(error.args[0].name())
        member.consumer.incremental_unassign([place])
        member.consumer.incremental_assign([place])
    poll_until(lambda: len(member.messages) == 2, member)
    member.consumer.close()
    return [seen, [message.offset() for message in member.messages]]


def what_can_be_read_after_retention_has_passed_a_consumer(broker: Broker) -> Seen:
    """One that has read, and then stood still."""
    for n in range(4):
        broker.append(broker.commands, b"%d" % n)
    member = Membership(broker.clients("a"), broker.commands)
    place = TopicPartition(broker.commands, 0, 1)
    poll_until(lambda: len(member.messages) == 4, member)
    broker.delete_before(broker.commands, 2)
    member.consumer.seek(place)
    poll_until(lambda: member.errors, member)
    seen: Seen = [member.errors[0].error().name()]
    try:
        member.consumer.seek(TopicPartition(broker.commands, 0, 2))
    except KafkaException as error:
        seen.append(error.args[0].name())
    else:
        poll_until(lambda: len(member.messages) == 6, member)
    member.consumer.close()
    return [seen, [message.offset() for message in member.messages]]


SCENARIOS = (
    the_partitions_of_a_dead_member_move_once_its_session_ends,
    a_member_that_returns_within_its_session_gets_what_it_had,
    what_can_be_read_again_after_retention_has_passed_a_position,
    what_can_be_read_after_retention_has_passed_a_consumer,
)
