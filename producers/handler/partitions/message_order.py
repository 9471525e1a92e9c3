"""Which polled messages may be decided: those that follow what is decided, without a gap.

librdkafka may deliver messages from before a seek or a pause (confluent-kafka-python#1013, #1443).
"""

from confluent_kafka import Message

from producers.handler.partitions.partition import Deciding, OwnedPartition
from producers.handler.partitions.positions import Inputs


class BatchInOrder:
    """Collects the messages of a batch that directly follow what is decided, or each other."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._taken: list[tuple[OwnedPartition, Message]] = []
        self._expected: dict[tuple[str, int], int] = {}
        # Input → its partition and the latest message that does not follow.
        self._left_out: dict[tuple[str, int], tuple[OwnedPartition, int]] = {}

    def offer(self, partition: OwnedPartition, message: Message) -> None:
        """Take `message` if its partition is deciding and it is the next message there.

        May ask the log, see `OwnedPartition.is_next`.
        """
        phase = partition.phase
        if not isinstance(phase, Deciding):
            return
        topic, offset = message.topic() or "", message.offset() or 0
        place = (topic, partition.number)
        expected = self._expected.get(place, phase.next_offsets[topic])
        if offset < expected:
            return
        if self._follows(partition, topic, expected, offset):
            self._expected[place] = offset + 1
            self._taken.append((partition, message))
            self._left_out.pop(place, None)
            partition.follow(topic)
        else:
            self._left_out[place] = (partition, offset)

    def _follows(self, partition: OwnedPartition, topic: str, expected: int, offset: int) -> bool:
        if offset == expected:
            return True
        if topic == self._inputs.address_messages and partition.has_followed(topic):
            return True
        left_out = self._left_out.get((topic, partition.number))
        if left_out is not None and offset >= left_out[1]:
            return False  # it comes after one that does not follow: the log is not asked again
        return partition.is_next(topic, expected, offset)

    def read_again(self) -> None:
        """Have the inputs read again whose last message was left out."""
        for (topic, _), (partition, _) in self._left_out.items():
            if isinstance(partition.phase, Deciding):
                partition.read_again(topic)

    def messages(self) -> list[Message]:
        """Return what was taken, without partitions that were revoked in the meantime."""
        return [m for partition, m in self._taken if isinstance(partition.phase, Deciding)]
