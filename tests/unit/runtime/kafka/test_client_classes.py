"""Kafka's clients leave no garbage behind when a call fails; no broker is needed for that."""

import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaException, TopicPartition

from runtime.kafka import client_classes

NO_BROKER = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
WITH_ID = NO_BROKER | {"transactional.id": "test"}
WITH_GROUP = NO_BROKER | {"group.id": "test"}
PLACE = TopicPartition("topic", 0, 0)
FAILING: dict[str, Callable[[], Any]] = {
    "begin": lambda: client_classes.Producer(WITH_ID).begin_transaction(),
    "commit": lambda: client_classes.Producer(WITH_ID).commit_transaction(0.01),
    "abort": lambda: client_classes.Producer(WITH_ID).abort_transaction(0.01),
    "init": lambda: client_classes.Producer(WITH_ID).init_transactions(0.01),
    "topics": lambda: client_classes.Producer(WITH_ID).list_topics(timeout=0.01),
    "seek": lambda: client_classes.Consumer(WITH_GROUP).seek(PLACE),
    "ends": lambda: client_classes.Consumer(WITH_GROUP).get_watermark_offsets(PLACE, timeout=0.01),
    "committed": lambda: client_classes.Consumer(WITH_GROUP).committed([PLACE], timeout=0.01),
    "times": lambda: client_classes.Consumer(WITH_GROUP).offsets_for_times([PLACE], timeout=0.01),
    "admin": lambda: client_classes.AdminClient(NO_BROKER).list_topics(timeout=0.01),
}


class _Marked:
    """Something that a frame of a handled exception refers to."""


def _is_kept_after(failing: Callable[[], Any]) -> bool:
    """Handle an exception, let a call fail meanwhile, and return whether its frames stay."""

    def work() -> weakref.ref[_Marked]:
        marked = _Marked()

        def fail() -> None:
            local = marked
            raise LookupError(local)

        try:
            fail()
        except LookupError as error:
            error.args = ()
            with pytest.raises(KafkaException):
                failing()
        return weakref.ref(marked)

    left = work()
    gc.collect()
    return left() is not None


@pytest.mark.parametrize("name", FAILING)
def test_what_is_handled_while_a_call_fails_is_freed(name: str) -> None:
    """A handler that aborts a transaction and fails has a producer in the frames of its error."""
    assert not _is_kept_after(FAILING[name])


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 frees it")
def test_the_library_itself_keeps_it() -> None:
    """If this fails, the wrapping of methods in `runtime.kafka.client_classes` can go."""
    assert _is_kept_after(lambda: confluent_kafka.Producer(WITH_ID).begin_transaction())
