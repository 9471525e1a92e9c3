"""Which handlers run, and which partitions the consumer group has assigned to each."""

from contextlib import suppress

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._group import ConsumerGroupDescription, MemberDescription

from runtime.kafka.clients import REQUEST_TIMEOUT_SECONDS, admin, kafka_available
from runtime.settings import Settings
from schemas.errors import Forbidden, Unavailable
from schemas.topics import COMMANDS

GROUP = "rollbook-handler"
_ANSWER_SECONDS = 1.0


def members(settings: Settings) -> list[MemberDescription]:
    """Return the members of the handlers' group. Raises `Unavailable` and `Forbidden`."""
    described = _described(settings, admin(settings), REQUEST_TIMEOUT_SECONDS)
    return list(described.members) if described else []


def unassigned(settings: Settings) -> set[int] | None:
    """Return the partitions that the group has assigned to no handler.

    None while it is being rebalanced or brokers do not answer; empty if we may not ask. Blocks for
    at most 3 s.

    librdkafka 2.16 may abort the process if the group's coordinator dies before it answers (an
    assertion in its retry of the request), so it is asked only once brokers have just answered.
    """
    try:
        with kafka_available(settings):
            client = admin(settings)
            client.list_topics(settings.named(COMMANDS.name), timeout=_ANSWER_SECONDS)
        described = _described(settings, client, 2 * _ANSWER_SECONDS)
    except Unavailable:
        return None
    except Forbidden:
        return set()
    if described is None or described.state != ConsumerGroupState.STABLE:
        return None
    places = (one for member in described.members for one in member.assignment.topic_partitions)
    return set(range(settings.partitions)) - {place.partition for place in places}


def _described(
    settings: Settings, client: AdminClient, timeout_seconds: float
) -> ConsumerGroupDescription | None:
    group = settings.named(GROUP)
    with kafka_available(settings, f"Describe on group {group}"):
        [described] = client.describe_consumer_groups(
            [group], request_timeout=timeout_seconds
        ).values()
        try:
            found: ConsumerGroupDescription = described.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return None
            raise
        return found


def assigned_to(settings: Settings) -> dict[int, str]:
    """Return by partition the instance of its handler and its host, as far as that is known.

    Nothing is known of a group that we may not describe, or that is being rebalanced.
    """
    found: dict[int, str] = {}
    with suppress(Unavailable, Forbidden):
        for member in members(settings):
            instance = (member.group_instance_id or "").removeprefix(f"{settings.named(GROUP)}-")
            host = member.client_id.removeprefix("rollbook@")
            for place in member.assignment.topic_partitions:
                found[place.partition] = f"{instance} on {host}"
    return found
