"""The checkpoints of the Elasticsearch read model: one document per partition.

They advance by compare-and-set on the sequence number of the document: if two processes start from
the same position, one write succeeds and the other gets a conflict.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson
from elasticsearch import Elasticsearch

from projectors.contract.read_model import Advance, Position
from projectors.elasticsearch.client import (
    NDJSON_HEADERS,
    elasticsearch_available,
    unavailable,
    write_denied,
)
from projectors.elasticsearch.index.indexes import CHECKPOINTS_ALIAS
from runtime.settings import Settings
from schemas.errors import Fenced, RollbookError

_STORED: Final = {HTTPStatus.OK, HTTPStatus.CREATED}
_NO_INDEX: Final = "index_not_found_exception"


@dataclass(frozen=True, slots=True)
class _Seen:
    """A checkpoint when it was last read; None where it did not exist."""

    position: Position | None
    seq_no: int | None
    primary_term: int | None


class Checkpoints:
    """The checkpoints of one index of users, identified by its uuid; None if that is unknown."""

    def __init__(
        self, settings: Settings, client: Elasticsearch, index: str, index_uuid: str | None
    ) -> None:
        self._settings = settings
        self._client = client
        self._alias = settings.named(CHECKPOINTS_ALIAS)
        self._index = index
        self._index_uuid = index_uuid
        self._seen: dict[int, _Seen] = {}

    def read(self) -> dict[int, Position]:
        """Return the current positions of all partitions, also those not refreshed yet.

        Positions of an index with another uuid are left out, because its data no longer exists.
        """
        self._refresh(range(self._settings.partitions))
        return {p: seen.position for p, seen in self._seen.items() if seen.position is not None}

    def check(self, advances: Mapping[int, Advance]) -> None:
        """Raise `Fenced` if a partition is not at the position where its step begins."""
        known = self._seen
        # Our copy may be stale: a partition can move to another process and come back.
        self._refresh(
            [p for p, a in advances.items() if p not in known or known[p].position != a.before]
        )
        for partition, advance in advances.items():
            if known[partition].position != advance.before:
                raise self._fenced(partition)

    def advance(self, advances: Mapping[int, Advance]) -> None:
        """Advance the positions that `check` has verified.

        Raises `Fenced` if another process was faster. After `Unavailable`, each position may or may
        not have advanced; `read` returns which.
        """
        if not advances:
            return
        body = b"".join(self._lines(p, a.after) for p, a in advances.items())
        for partition in advances:
            del self._seen[partition]
        for (partition, advance), item in zip(
            advances.items(), self._bulk(body)["items"], strict=True
        ):
            result = next(iter(item.values()))
            if result["status"] not in _STORED:
                raise self._not_advanced(partition, result["status"])
            self._seen[partition] = _Seen(advance.after, result["_seq_no"], result["_primary_term"])

    def remove(self) -> None:
        """Delete the checkpoints of the index."""
        lines = (
            orjson.dumps({"delete": {"_id": self._id(p)}}) + b"\n"
            for p in range(self._settings.partitions)
        )
        answer = self._bulk(b"".join(lines))
        failed = {item["delete"]["status"] for item in answer["items"]} - {
            *_STORED,
            HTTPStatus.NOT_FOUND,
        }
        if failed:
            raise unavailable(self._settings, f"cannot delete a checkpoint (status {failed.pop()})")
        self._seen.clear()

    def _refresh(self, partitions: Iterable[int]) -> None:
        by_id = {self._id(partition): partition for partition in partitions}
        if not by_id:
            return
        with elasticsearch_available(self._settings):
            answer = self._client.mget(index=self._alias, ids=list(by_id), realtime=True)
        for found in answer["docs"]:
            self._seen[by_id[found["_id"]]] = self._parse(found)

    def _bulk(self, body: bytes) -> Any:
        with elasticsearch_available(self._settings):
            return self._client.perform_request(
                "POST",
                f"/{self._alias}/_bulk",
                params={"require_alias": "true"},
                headers=NDJSON_HEADERS,
                body=body,
            ).body

    def _not_advanced(self, partition: int, status: int) -> RollbookError:
        if status == HTTPStatus.CONFLICT:
            return self._fenced(partition)
        if status == HTTPStatus.NOT_FOUND:
            return Fenced(f"the checkpoints of {self._index} were removed")
        if status == HTTPStatus.FORBIDDEN:
            return write_denied(f"{self._alias} (status {status})")
        return unavailable(self._settings, f"cannot write a checkpoint (status {status})")

    def _lines(self, partition: int, position: Position) -> bytes:
        seen = self._seen[partition]
        if seen.seq_no is None:
            action: dict[str, Any] = {"create": {"_id": self._id(partition)}}
        else:
            action = {
                "index": {
                    "_id": self._id(partition),
                    "if_seq_no": seen.seq_no,
                    "if_primary_term": seen.primary_term,
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
            next_step="leave that process running; projectors of one read model must share a group",
        )

    def _parse(self, found: Mapping[str, Any]) -> _Seen:
        # The answer as a whole may succeed while a document in it fails: just after the server
        # started, or while the index is closed.
        problem = found.get("error", {}).get("type", _NO_INDEX)
        if problem != _NO_INDEX:
            raise unavailable(self._settings, f"cannot read a checkpoint ({problem})")
        if not found.get("found"):
            return _Seen(None, None, None)
        content = found["_source"]
        position = None
        if content["index_uuid"] == self._index_uuid:
            position = Position(
                content["topic_id"],
                content["next_offset"],
                content["last_seq"],
                content["applied_at"],
            )
        return _Seen(position, found["_seq_no"], found["_primary_term"])
