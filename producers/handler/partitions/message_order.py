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
        # Partitions that are read again: what they deliver now belongs to the next batch.
        self.rewound: set[OwnedPartition] = set()

    def offer(self, partition: OwnedPartition, message: Message) -> None:
        """Take `message` if its partition is deciding and it is the next message there."""
        phase = partition.phase
        if not isinstance(phase, Deciding) or partition in self.rewound:
            return
        topic, offset = message.topic() or "", message.offset() or 0
        place = (topic, partition.number)
        expected = self._expected.get(place)
        if expected is None:
            expected = phase.next_offsets[topic]
        if offset < expected:
            return
        # Every transaction of a handler leaves a gap among address messages: its marker.
        is_sequel = offset == expected or topic == self._inputs.address_messages
        if is_sequel or partition.is_gap(offset):
            self._expected[place] = offset + 1
            self._taken.append((partition, message))
        else:
            self.rewound.add(partition)

    def messages(self) -> list[Message]:
        """Return what was taken, without partitions that were revoked in the meantime."""
        return [m for partition, m in self._taken if isinstance(partition.phase, Deciding)]
