"""The records of a partition that a restore cannot read, and what follows from them.

Anything unreadable under the key of a user or a claim of the partition may be that user's latest
state, or a claim on an address: deciding without it could give one address to two users. So the
partition is not decided. The one exception is a record that is followed by a readable one under
its key: compaction would remove it, and the result must not depend on when that happens
(docs/decisions/0026). Under other keys, bytes that no handler wrote are skipped.
"""

import logging

from schemas.errors import Misconfigured, Poisoned
from schemas.trust import is_claim_key, is_user_key

log = logging.getLogger(__name__)

# Of a record with fields that this release does not know. To skip it would lose them.
NEWER_SCHEMA = "newer_schema"
_REGISTRY = {"unknown_schema", "wrong_schema"}


class UnreadableRecords:
    """Feed it with every record that cannot be read, and each readable one; then ask `check`."""

    def __init__(self, partition: int, partitions: int, claims_topic: str) -> None:
        self._partition = partition
        self._fields = {"partition": partition}
        self._partitions = partitions
        self._claims_topic = claims_topic
        # By topic and key: the offset of the latest one, and why it cannot be read.
        self._found: dict[tuple[str, bytes | None], tuple[int, Poisoned]] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, topic: str, key: bytes | None, offset: int, poisoned: Poisoned) -> None:
        """Note a record of `user-events`, `user-emails` or `user-outcomes`."""
        is_claim = topic == self._claims_topic and is_claim_key(key)
        if is_claim or is_user_key(key, self._partition, self._partitions):
            self._found[topic, key] = offset, poisoned.with_traceback(None)
        else:
            where = self._place(topic, offset)
            log.warning("skipping a foreign record: %s: %s", where, poisoned, extra=self._fields)

    def replaced(self, topic: str, key: bytes | None) -> None:
        """Note that a readable record with this key follows."""
        if self._found.pop((topic, key), None) is not None:
            log.warning(
                "skipping an unreadable record of %s: a later one replaces it",
                topic,
                extra=self._fields,
            )

    def check(self) -> None:
        """Raise `Misconfigured` if there is an unreadable record that no later one replaces.

        Its code is `newer_log` if a later release wrote the record, `unreadable_log` otherwise.
        """
        if not self._found:
            return
        by_place = sorted(
            ((topic, offset, poisoned) for (topic, _), (offset, poisoned) in self._found.items()),
            key=lambda found: (found[2].code != NEWER_SCHEMA, *found[:2]),
        )
        topic, offset, poisoned = by_place[0]
        more = f" (and {len(by_place) - 1} more)" if len(by_place) > 1 else ""
        message = f"cannot restore: {self._place(topic, offset)}{more}: {poisoned}"
        if poisoned.code == NEWER_SCHEMA:
            raise Misconfigured(
                message,
                code="newer_log",
                next_step="run the release that wrote it, or a later one (docs/upgrading.md)",
            )
        raise Misconfigured(
            message,
            code="unreadable_log",
            next_step="restore the registry's storage: ids on the log must keep their meaning"
            if poisoned.code in _REGISTRY
            else "docs/upgrading.md says how to replace the record",
        )

    def _place(self, topic: str, offset: int) -> str:
        return f"{topic} partition {self._partition} offset {offset}"
