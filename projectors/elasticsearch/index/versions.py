"""The versions of the read model, one index each, identified by a number.

The `_meta` of its mapping says whether a version is ready and since when it is live; the alias that
clients query points to the live version. Where processes may compete, one request changes aliases
and fails if they are not as expected.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from elasticsearch import NotFoundError

from projectors.contract.read_model import BUILDING, READY, Version
from projectors.contract.refusals import ready_and_live, version_is_live
from projectors.contract.source import LATEST_STATE
from projectors.elasticsearch.client import connect, elasticsearch_available
from projectors.elasticsearch.index.bookkeeping import Bookkeeping, create_index
from projectors.elasticsearch.index.checkpoints import Checkpoints
from projectors.elasticsearch.index.indexes import (
    CHECKPOINTS_INDEX,
    NOT_GONE,
    USERS,
    USERS_ALIAS,
    DocumentShape,
    building_settings,
    document_for,
    meta_of,
    new_meta,
    next_number,
    number_of,
    own_fields,
    served_settings,
    used_alias,
    users_body,
    users_index,
    version_of,
    write_alias,
)
from projectors.elasticsearch.index.leftovers import IndexLeftovers
from projectors.elasticsearch.index.write_lock import (
    WriteLock,
    index_dropped,
    replace_aliases,
)
from projectors.elasticsearch.index.writer import ElasticsearchUsers
from runtime.settings import Settings
from schemas.errors import RollbookError, Unavailable

_TRIES: Final = 5
# Only this is requested of each index, because its mapping would be hundreds of lines.
_FACTS: Final = ["*.aliases", "*.mappings._meta", "*.settings.index.creation_date"]


class ElasticsearchVersions:
    """The versions of the read model `elasticsearch`; new ones get `shape`. Not thread-safe."""

    name: Final = ElasticsearchUsers.name
    source: Final = LATEST_STATE

    def __init__(self, settings: Settings, shape: DocumentShape = USERS) -> None:
        self._settings = settings
        self._shape = shape
        self._alias = settings.named(USERS_ALIAS)
        self._checkpoints_index = settings.named(CHECKPOINTS_INDEX)
        self._client = connect(settings)
        self._bookkeeping = Bookkeeping(settings, self._client)
        self._leftovers = IndexLeftovers(settings, self._client)

    def versions(self) -> list[Version]:
        """Return all versions in order of their numbers; none before `begin`.

        Raises `Misconfigured` (`newer_bookkeeping`), as other methods do, if a later release has
        changed the indexes in a way that this one cannot use.
        """
        found = (version_of(self._settings, *each) for each in self._indexes().items())
        return sorted(filter(None, found), key=lambda version: version.number)

    def begin(self) -> None:
        """Create the first version, ready and live, unless one exists. Safe to run concurrently.

        If the index of checkpoints was deleted, it is created again, and the log is replayed. That
        of an earlier release is brought to our format.
        """
        indexes = self._indexes()
        self._bookkeeping.update(indexes.get(self._checkpoints_index))
        if any(number_of(self._settings, index) for index in indexes):
            return
        body = users_body(self._settings, self._shape)
        body["mappings"]["_meta"] = new_meta(self._shape, READY, _now())
        # Concurrent callers have all seen no version, so they create the same index.
        self._create(
            next_number(self._settings, indexes), body, {self._alias: {"filter": NOT_GONE}}
        )

    def create(self) -> int:
        """Create an empty version in state `building`; return its number."""
        self._bookkeeping.update(self._indexes().get(self._checkpoints_index))
        body = users_body(self._settings, self._shape)
        body["settings"] |= building_settings()
        body["mappings"]["_meta"] = new_meta(self._shape, BUILDING, None)
        for _ in range(_TRIES):
            number = next_number(self._settings, self._indexes())
            if self._create(number, body, {}):
                return number
        raise self._busy()

    def open(self, number: int) -> ElasticsearchUsers:
        """Open a version, also one of an older rollbook, which may have fewer fields.

        Raises `Misconfigured` (`other_shape`) if it has fields that this rollbook cannot fill. A
        version that does not exist raises `Dropped` when it is used.
        """
        index = users_index(self._settings, number)
        with elasticsearch_available(self._settings):
            try:
                answer = self._client.indices.get(index=index, features=["mappings", "settings"])
            except NotFoundError:
                return ElasticsearchUsers(self._settings, number, None, self._shape.document)
        fields = own_fields(answer[index]["mappings"])
        make = document_for(self._shape, self.name, number, fields)
        uuid = answer[index]["settings"]["index"]["uuid"]
        return ElasticsearchUsers(self._settings, number, uuid, make)

    def finish(self, number: int) -> None:
        """Give the index the settings for queries; idempotent.

        Nothing changes for writers: a version that was opened before remains usable.
        """
        index = users_index(self._settings, number)
        with elasticsearch_available(self._settings, index_dropped(index)):
            self._client.indices.put_settings(
                index=index, settings={"index": served_settings(self._settings)}
            )
            self._client.indices.refresh(index=index)

    def accept(self, number: int) -> None:
        """Mark a version as ready once it was built and compared. Idempotent. Raises `Dropped`."""
        self._set_meta(number, {"state": READY})

    def swap(self, number: int, await_caught_up: Callable[[], None]) -> None:
        """Make a ready version live; see `ReadModelVersions.swap`. Safe to run concurrently.

        Raises `Rejected` (`version_not_ready`), `Unavailable` (`swap_interrupted`) if it took
        longer than writers wait; nothing has changed then.
        """
        for _ in range(_TRIES):
            ready, live = ready_and_live(self.name, self.versions(), number)
            if ready.live:
                if ready.live_since is None:  # a swap was killed before it recorded this
                    self._set_meta(number, {"live_since": _now()})
                return
            if self._swap(live.number if live else None, number, await_caught_up):
                self._set_meta(number, {"live_since": _now()})
                return
        raise self._busy()

    def drop(self, number: int) -> None:
        """Delete a version and its data. Idempotent. Raises `Rejected` (`version_is_live`).

        The index is deleted before its checkpoint, so that a running projector learns that the
        version was dropped, rather than starting over from an empty checkpoint. The number is never
        reused.
        """
        for _ in range(_TRIES):
            if self._remove_index(number):
                break
        else:
            raise self._busy()
        index = users_index(self._settings, number)
        Checkpoints(self._settings, self._client, index, None).remove()

    def set_paused(self, number: int, *, paused: bool) -> None:
        """Pause the writers of a version, or let them continue; see `PausableVersions`."""
        facts = self._indexes().get(users_index(self._settings, number), {})
        since = meta_of(facts)["paused_at"] or _now()
        self._set_meta(number, {"paused_at": since if paused else None})

    def remove_leftovers(self, number: int, *, settled_seconds: float = 120.0) -> bool:
        """Remove from the index's files what was deleted; see `RemovesLeftovers`."""
        return self._leftovers.remove(users_index(self._settings, number), settled_seconds)

    def erase_gone_users(self, number: int, live: int) -> int:
        """Erase from a version that nobody maintains who is gone from the live one."""
        index, live_index = (users_index(self._settings, one) for one in (number, live))
        return self._leftovers.erase_gone_users(index, live_index)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _swap(self, live: int | None, number: int, await_caught_up: Callable[[], None]) -> bool:
        """Move the alias from version `live`; return False if another went live meanwhile."""
        new = users_index(self._settings, number)
        actions = replace_aliases(new, [write_alias(new)], write_alias(new))
        published = self._published(new)
        if live is None:  # its index was deleted: there are no writes to pause
            with elasticsearch_available(self._settings):
                self._client.indices.update_aliases(actions=[*actions, published])
            return True
        old = users_index(self._settings, live)
        with elasticsearch_available(self._settings):
            WriteLock(self._client, new).wait_until_free()
        lock = WriteLock(self._client, old)
        lost = Unavailable(
            f"the swap of {self.name} took so long that writes were resumed",
            code="swap_interrupted",
            next_step="nothing has changed; run it again",
        )
        try:
            with elasticsearch_available(self._settings):
                lock.acquire()
            if not any(version.number == live and version.live for version in self.versions()):
                return False
            await_caught_up()
            with elasticsearch_available(self._settings, lost):
                self._client.indices.refresh(index=new)
                self._client.indices.update_aliases(
                    actions=[*lock.still_held(), *actions, self._unpublished(old), published]
                )
        finally:
            # If this fails, the lock expires and the waiting writer releases it.
            with suppress(RollbookError), elasticsearch_available(self._settings):
                lock.release()
        return True

    def _remove_index(self, number: int) -> bool:
        """Delete the index of a version; return False if another version went live meanwhile."""
        index = users_index(self._settings, number)
        found = self.versions()
        if not any(version.number == number for version in found):
            return True
        live = next((version.number for version in found if version.live), None)
        if live == number:
            raise version_is_live(self.name, number)
        used = {"index": self._checkpoints_index, "alias": used_alias(index), "is_hidden": True}
        actions: list[dict[str, Any]] = [{"remove_index": {"index": index}}, {"add": used}]
        if live is not None:  # fails if another version has gone live since
            current = users_index(self._settings, live)
            actions = [self._unpublished(current), self._published(current), *actions]
        with elasticsearch_available(self._settings):
            try:
                self._client.indices.update_aliases(actions=actions)
            except NotFoundError:
                return False
        return True

    def _create(self, number: int, body: dict[str, Any], aliases: Mapping[str, Any]) -> bool:
        """Create the index of a version; return False if it already exists."""
        index = users_index(self._settings, number)
        aliases = {write_alias(index): {"is_hidden": True}, **aliases}
        return create_index(self._settings, self._client, index, {**body, "aliases": aliases})

    def _set_meta(self, number: int, facts: Mapping[str, Any]) -> None:
        """Update the `_meta` of a version."""
        index = users_index(self._settings, number)
        meta = {**meta_of(self._indexes().get(index, {})), **facts}
        with elasticsearch_available(self._settings, index_dropped(index)):
            self._client.indices.put_mapping(index=index, meta=meta)

    def _indexes(self) -> dict[str, Any]:
        """Return the facts of all version indexes and of the index of checkpoints.

        The aliases of the latter record used numbers, its `_meta` the format, which is checked.
        """
        with elasticsearch_available(self._settings):
            answer = self._client.indices.get(
                index=[f"{self._alias}-*", self._checkpoints_index],
                expand_wildcards="all",
                ignore_unavailable=True,
                filter_path=_FACTS,
            )
        indexes = dict(answer)
        self._bookkeeping.check(indexes.get(self._checkpoints_index))
        return indexes

    def _published(self, index: str) -> dict[str, Any]:
        return {"add": {"index": index, "alias": self._alias, "filter": NOT_GONE}}

    def _unpublished(self, index: str) -> dict[str, Any]:
        return {"remove": {"index": index, "alias": self._alias, "must_exist": True}}

    def _busy(self) -> Unavailable:
        return Unavailable(
            f"other processes are changing the versions of {self.name}",
            code="versions_busy",
            next_step=f"check `rollbook projector versions {self.name}`, then try again",
        )


def _now() -> int:
    return time.time_ns() // 1_000_000
