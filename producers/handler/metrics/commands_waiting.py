"""How many commands wait for this handler, as the brokers see it."""

from collections.abc import Callable, Sequence

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from producers.handler.members import GROUP
from runtime.kafka.clients import REQUEST_TIMEOUT_SECONDS, kafka_available
from runtime.metrics.recording import VALUES, Labels
from runtime.settings import Settings
from runtime.topics.log_ranges import EARLIEST, LATEST, list_offsets
from schemas.topics import COMMANDS

_NAME = "handler_commands_waiting"


class CommandsWaiting:
    """A measurement (see `runtime.metrics.follower`): end of the log less the committed offset.

    `assigned` returns the handler's partitions. In whatever state these are, and whatever the
    handler's consumer believes, a command that nobody decides is counted.
    """

    def __init__(self, settings: Settings, assigned: Callable[[], Sequence[int]]) -> None:
        self._settings = settings
        self._assigned = assigned
        self._topic = settings.named(COMMANDS.name)
        self._group = settings.named(GROUP)

    def measure(self, client: AdminClient) -> None:
        """Record the commands that wait in each partition. Raises `Unavailable`, `Forbidden`."""
        assigned = self._assigned()
        # Without partitions too: whether brokers answer is what a standby must know as well.
        places = [TopicPartition(self._topic, number) for number in assigned or [0]]
        permission = f"Describe on topic {self._topic} and on group {self._group}"
        with kafka_available(self._settings, permission):
            # Before the ends: otherwise a commit could be past the end that was read.
            next_offsets = self._committed(client, places)
            ends = list_offsets(client, dict.fromkeys(places, LATEST))
        waiting: dict[Labels, float] = {
            (str(place.partition),): float(max(0, end - next_offsets[place.partition]))
            for place, end in ends.items()
            if place.partition in assigned
        }
        VALUES.replace(_NAME, waiting)

    def forget(self) -> None:
        """Record nothing: 0 would say that none waits."""
        VALUES.replace(_NAME, {})

    def _committed(self, client: AdminClient, places: list[TopicPartition]) -> dict[int, int]:
        """Return by partition the committed offset, or where the log begins without one."""
        asked = ConsumerGroupTopicPartitions(self._group, places)
        [answer] = client.list_consumer_group_offsets(
            [asked], request_timeout=REQUEST_TIMEOUT_SECONDS
        ).values()
        found = {one.partition: one.offset for one in answer.result().topic_partitions or []}
        missing = [one for one in places if found.get(one.partition, -1) < 0]
        if missing:
            lows = list_offsets(client, dict.fromkeys(missing, EARLIEST))
            found |= {one.partition: low for one, low in lows.items()}
        return found
