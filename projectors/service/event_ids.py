"""Ids of the events in a stream: where in the log it continues, for each partition that it reads.

`partition:offset`, joined by commas, after the beginning of Kafka's id of the topic: the offsets of
a topic that was re-created belong to other events. Kafka's client writes that id in the alphabet of
base64 that has `/` and `+`; here it is in the one for addresses (RFC 4648, 5).
"""

import re
from collections.abc import Collection, Mapping
from typing import Final

from schemas.errors import Rejected

_PLACE: Final = r"(?:0|[1-9][0-9]{0,3}):(?:0|[1-9][0-9]{0,17})"
_ID: Final = re.compile(rf"([A-Za-z0-9_-]{{1,22}})\.({_PLACE}(?:,{_PLACE})*)")
_TOPIC_CHARACTERS: Final = 6
_FOR_ADDRESSES: Final = str.maketrans("+/", "-_")


def write_event_id(topic_id: str, offsets: Mapping[int, int]) -> str:
    """Return the id of the event after which reading continues at `offsets`."""
    places = ",".join(f"{partition}:{offset}" for partition, offset in offsets.items())
    return f"{_beginning(topic_id)}.{places}"


def read_event_id(text: str, topic_id: str, partitions: Collection[int]) -> dict[int, int]:
    """Return partition → the offset where a stream that reads `partitions` continues.

    Raises `Rejected` (`invalid_event_id`) if it is the id of a stream of other partitions, or of a
    topic that no longer exists.
    """
    found = _ID.fullmatch(text)
    if found is None:
        raise _invalid("it is not the id of an event")
    if found[1] != _beginning(topic_id):
        raise _invalid("its log was re-created since")
    pairs = (place.split(":") for place in found[2].split(","))
    offsets = {int(partition): int(offset) for partition, offset in pairs}
    if set(offsets) != set(partitions):
        raise _invalid("it belongs to a stream of another user, or of all users")
    return offsets


def _beginning(topic_id: str) -> str:
    return topic_id[:_TOPIC_CHARACTERS].translate(_FOR_ADDRESSES)


def _invalid(why: str) -> Rejected:
    return Rejected(
        f"the stream cannot continue after this event: {why}",
        code="invalid_event_id",
        next_step="leave out Last-Event-ID, and begin at a time with `from`",
    )
