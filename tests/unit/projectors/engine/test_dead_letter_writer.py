"""A letter is stored before the checkpoint passes its record, or the writer says that it is not."""

from typing import Any, cast

import pytest
from confluent_kafka import Producer

from projectors.engine.dead_letter_writer import SafeProducer
from runtime.settings import Settings
from schemas.errors import Unavailable


class Stuck:
    """A producer whose records are neither delivered nor failed when `flush` returns."""

    def __init__(self) -> None:
        self.produced = 0

    def produce(self, _topic: str, **_options: Any) -> None:
        self.produced += 1

    def flush(self, _timeout_seconds: float) -> int:
        return self.produced


class Opened(SafeProducer):
    """One that counts the producers it opens."""

    opened = 0

    def _open(self) -> Producer:
        self.opened += self._producer is None
        self._producer = self._producer or cast("Producer", Stuck())
        return self._producer


def test_records_that_are_still_queued_after_the_flush_are_not_stored() -> None:
    producer = Opened(Settings())
    for opened in (1, 2):
        with pytest.raises(Unavailable):
            producer.append("letters", 0, [("key", b"value")])
        assert producer.opened == opened
