"""Where the Elasticsearch read model stands: one document a partition, advanced by compare-and-set.

A document's sequence number is the compare-and-set's hand: of two processes that both hold the old
position, one write lands and the other is told of a conflict.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from elasticsearch import Elasticsearch

from projectors.contract.read_model import Advance, Position
from projectors.elasticsearch.client import NDJSON_HEADERS, elasticsearch_available, unavailable
from projectors.elasticsearch.index.indexes import CHECKPOINTS_ALIAS
from runtime.settings import Settings
from schemas.errors import Fenced, RollbookError

_CONFLICT = 409
_NOT_FOUND = 404
_OK = {200, 201}
_NO_INDEX = "index_not_found_exception"


@dataclass(frozen=True, slots=True)
class _Held:
    """What a checkpoint's document held when it was last seen; None where there was none."""

    position: Position | None
    seq_no: int | None
    primary_term: int | None


class Checkpoints:
    """The checkpoints of one index of users, known by its uuid; None stands for an index unseen."""

    def __init__(
        self, settings: Settings, client: Elasticsearch, index: str, index_uuid: str | None
    ) -> None:
        self._settings = settings
        self._client = client
        self._alias = settings.named(CHECKPOINTS_ALIAS)
        self._index = index
        self._index_uuid = index_uuid
        self._held: dict[int, _Held] = {}

    def read(self) -> dict[int, Position]:
        """Return the positions of every partition, as they are now and not as a search sees them.

        Those of an index with another uuid are left out: its data is gone.
        """
        self._look(range(self._settings.partitions))
        return {p: held.position for p, held in self._held.items() if held.position is not None}

    def check(self, advances: Mapping[int, Advance]) -> None:
        """Raise `Fenced` if a partition is not where its step begins."""
        known = self._held
        # What we remember may be old: a partition can go to another process and come back.
        self._look(
            [p for p, a in advances.items() if p not in known or known[p].position != a.before]
        )
        for partition, advance in advances.items():
            if known[partition].position != advance.before:
                raise self._fenced(partition)

    def advance(self, advances: Mapping[int, Advance]) -> None:
        """Take the steps that `check` approved of.

        Raises `Fenced` if another process was first. After `Unavailable` a step may have been
        taken or not: `read` tells.
        """
        if not advances:
            return
        body = b"".join(self._lines(p, a.after) for p, a in advances.items())
        for partition in advances:
            del self._held[partition]
        for (partition, advance), item in zip(
            advances.items(), self._bulk(body)["items"], strict=True
        ):
            result = next(iter(item.values()))
            if result["status"] not in _OK:
                raise self._not_taken(partition, result["status"])
            self._held[partition] = _Held(advance.after, result["_seq_no"], result["_primary_term"])

    def remove(self) -> None:
        """Remove the checkpoints of the index of users."""
        lines = (
            orjson.dumps({"delete": {"_id": self._id(p)}}) + b"\n"
            for p in range(self._settings.partitions)
        )
        answer = self._bulk(b"".join(lines))
        failed = {item["delete"]["status"] for item in answer["items"]} - {*_OK, _NOT_FOUND}
        if failed:
            raise unavailable(self._settings, f"removing checkpoints, status {failed.pop()}")
        self._held.clear()

    def _look(self, partitions: Iterable[int]) -> None:
        by_id = {self._id(partition): partition for partition in partitions}
        if not by_id:
            return
        with elasticsearch_available(self._settings):
            answer = self._client.mget(index=self._alias, ids=list(by_id), realtime=True)
        for found in answer["docs"]:
            self._held[by_id[found["_id"]]] = self._as_held(found)

    def _bulk(self, body: bytes) -> Any:
        with elasticsearch_available(self._settings):
            return self._client.perform_request(
                "POST",
                f"/{self._alias}/_bulk",
                params={"require_alias": "true"},
                headers=NDJSON_HEADERS,
                body=body,
            ).body

    def _not_taken(self, partition: int, status: int) -> RollbookError:
        if status == _CONFLICT:
            return self._fenced(partition)
        if status == _NOT_FOUND:
            return Fenced(f"the checkpoints of {self._index} were removed")
        return unavailable(self._settings, f"a checkpoint was not written, status {status}")

    def _lines(self, partition: int, position: Position) -> bytes:
        held = self._held[partition]
        if held.seq_no is None:
            action: dict[str, Any] = {"create": {"_id": self._id(partition)}}
        else:
            action = {
                "index": {
                    "_id": self._id(partition),
                    "if_seq_no": held.seq_no,
                    "if_primary_term": held.primary_term,
                }
            }
        content = {
            "index": self._index,
            "index_uuid": self._index_uuid,
            "partition": partition,
            "topic_id": position.topic_id,
            "next_offset": position.next_offset,
            "last_seq": position.last_seq,
            "applied_at": time.time_ns() // 1_000_000,
        }
        return orjson.dumps(action) + b"\n" + orjson.dumps(content) + b"\n"

    def _id(self, partition: int) -> str:
        return f"{self._index}:{partition}"

    def _fenced(self, partition: int) -> Fenced:
        return Fenced(
            f"another process advanced partition {partition} of {self._index}",
            next_step="let that one go on; two projectors of one read model share a group",
        )

    def _as_held(self, found: Mapping[str, Any]) -> _Held:
        # The whole answer is a success while one of its documents is not: in the first moments of
        # a server, or with its index closed, they are not there to be read.
        problem = found.get("error", {}).get("type", _NO_INDEX)
        if problem != _NO_INDEX:
            raise unavailable(self._settings, f"a checkpoint cannot be read, {problem}")
        if not found.get("found"):
            return _Held(None, None, None)
        content = found["_source"]
        position = None
        if content["index_uuid"] == self._index_uuid:
            position = Position(
                content["topic_id"],
                content["next_offset"],
                content["last_seq"],
                content["applied_at"],
            )
        return _Held(position, found["_seq_no"], found["_primary_term"])
