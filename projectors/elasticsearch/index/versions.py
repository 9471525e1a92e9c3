"""Every version of the read model: an index each, known by its number.

Whether a version is ready and since when it is live stands in the `_meta` of its mapping; the one
that is live has the alias that people query. Wherever two may meet there is one request, which
changes aliases and fails if they are not as they should be.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from elasticsearch import ApiError, BadRequestError, NotFoundError, TransportError

from projectors.contract.read_model import BUILDING, READY, Version
from projectors.contract.source import LATEST_STATE
from projectors.elasticsearch.client import connect, elasticsearch_available, explain
from projectors.elasticsearch.index.checkpoints import Checkpoints
from projectors.elasticsearch.index.hold import Hold, gone, moved
from projectors.elasticsearch.index.indexes import (
    CHECKPOINTS_INDEX,
    NOT_GONE,
    USERS,
    USERS_ALIAS,
    Shape,
    building_settings,
    checkpoints_body,
    document_for,
    next_number,
    number_of,
    served_settings,
    used_alias,
    users_body,
    users_index,
    write_alias,
)
from projectors.elasticsearch.index.writer import ElasticsearchUsers
from runtime.settings import Settings
from schemas.errors import Rejected, RollbookError, Unavailable

_EXISTS: Final = "resource_already_exists_exception"
_TRIES: Final = 5
# Of each index of users no more than this is asked for: its fields are hundreds of lines.
_FACTS: Final = ["*.aliases", "*.mappings._meta", "*.settings.index.creation_date"]


class ElasticsearchVersions:
    """The versions of the read model `elasticsearch`: `ReadModelVersions`. Not for several threads.

    New ones are made in `shape`.
    """

    name: Final = ElasticsearchUsers.name
    source: Final = LATEST_STATE

    def __init__(self, settings: Settings, shape: Shape = USERS) -> None:
        self._settings = settings
        self._shape = shape
        self._alias = settings.named(USERS_ALIAS)
        self._checkpoints_index = settings.named(CHECKPOINTS_INDEX)
        self._client = connect(settings)

    def versions(self) -> list[Version]:
        """Return every version, by number; empty before `begin`."""
        found = []
        for index, facts in self._indexes().items():
            number = number_of(self._settings, index)
            if number is not None:
                meta = _meta(facts)
                live = self._alias in facts["aliases"]
                created_at = int(facts["settings"]["index"]["creation_date"])
                # The first one's was taken before the index was made.
                live_since = meta["live_since"] and max(meta["live_since"], created_at)
                found.append(Version(number, meta["state"], live, created_at, live_since))
        return sorted(found, key=lambda version: version.number)

    def begin(self) -> None:
        """Create the first version, ready and live, if there is none. Safe side by side.

        If somebody removed the index of checkpoints, it is made again: the log is read anew.
        """
        self._create_index(self._checkpoints_index, checkpoints_body(self._settings))
        indexes = self._indexes()
        if any(number_of(self._settings, index) for index in indexes):
            return
        body = users_body(self._settings, self._shape)
        body["mappings"]["_meta"] = {"state": READY, "live_since": _now()}
        # Of several who are here at once all have seen none, and mean the same index.
        self._create(
            next_number(self._settings, indexes), body, {self._alias: {"filter": NOT_GONE}}
        )

    def create(self) -> int:
        """Create an empty version that is building, and return its number."""
        self._create_index(self._checkpoints_index, checkpoints_body(self._settings))
        body = users_body(self._settings, self._shape)
        body["settings"] |= building_settings()
        body["mappings"]["_meta"] = {"state": BUILDING, "live_since": None}
        for _ in range(_TRIES):
            number = next_number(self._settings, self._indexes())
            if self._create(number, body, {}):
                return number
        raise self._busy()

    def open(self, number: int) -> ElasticsearchUsers:
        """Return a version, which a newer rollbook can still write though it has fewer fields.

        Raises `Misconfigured` (`other_shape`) if it has fields that this rollbook cannot fill. One
        that is not there is `Dropped` as soon as it is used.
        """
        index = users_index(self._settings, number)
        with self._explained():
            try:
                there = self._client.indices.get(index=index, features=["mappings", "settings"])[
                    index
                ]
            except NotFoundError:
                return ElasticsearchUsers(self._settings, number, None, self._shape.document)
        make = document_for(self._shape, index, there["mappings"]["properties"])
        uuid = there["settings"]["index"]["uuid"]
        return ElasticsearchUsers(self._settings, number, uuid, make)

    def finish(self, number: int) -> None:
        """Make the index as queries want it; idempotent.

        Nothing is different for who writes: a version that was opened before can go on.
        """
        index = users_index(self._settings, number)
        with self._explained(gone(index)):
            self._client.indices.put_settings(
                index=index, settings={"index": served_settings(self._settings)}
            )
            self._client.indices.refresh(index=index)

    def accept(self, number: int) -> None:
        """Make a version that was built and compared ready. Idempotent."""
        self._note(number, {"state": READY})

    def swap(self, number: int, await_caught_up: Callable[[], None]) -> None:
        """Make a ready version live; see `ReadModelVersions.swap`. Safe side by side.

        Raises `Rejected` (`version_not_ready`), `Unavailable` (`swap_interrupted`) if it took
        longer than writers wait; then nothing has changed.
        """
        for _ in range(_TRIES):
            found = {version.number: version for version in self.versions()}
            if number not in found or found[number].state != READY:
                raise Rejected(
                    f"{self.name} has no version {number} that is ready", code="version_not_ready"
                )
            live = next((version.number for version in found.values() if version.live), None)
            if live == number:
                if found[number].live_since is None:  # killed before the last line of a swap
                    self._note(number, {"live_since": _now()})
                return
            if self._swap(live, number, await_caught_up):
                self._note(number, {"live_since": _now()})
                return
        raise self._busy()

    def drop(self, number: int) -> None:
        """Remove a version and its data. Idempotent. Raises `Rejected` (`version_is_live`).

        The index goes first: what is left of its checkpoint counts for no other, and a projector
        that still runs is told that the version was dropped and not that it begins anew. The number
        is never given again.
        """
        for _ in range(_TRIES):
            if self._remove_index(number):
                break
        else:
            raise self._busy()
        index = users_index(self._settings, number)
        Checkpoints(self._settings, self._client, index, None).remove()

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _swap(self, live: int | None, number: int, await_caught_up: Callable[[], None]) -> bool:
        """Move the alias from version `live`; return False if that is not the one that is live."""
        new = users_index(self._settings, number)
        actions = moved(new, [write_alias(new)], write_alias(new))
        published = self._published(new)
        if live is None:  # somebody removed its index: there is nothing to hold, and nobody who saw
            with self._explained():
                self._client.indices.update_aliases(actions=[*actions, published])
            return True
        old = users_index(self._settings, live)
        with self._explained():
            Hold(self._client, new).wait_until_free()
        hold = Hold(self._client, old)
        lost = Unavailable(
            f"the swap of {self.name} was interrupted for so long that writes went on",
            code="swap_interrupted",
            next_step="nothing has changed; try again",
        )
        try:
            with self._explained():
                hold.take()
            if not any(version.number == live and version.live for version in self.versions()):
                return False
            await_caught_up()
            with self._explained(lost):
                self._client.indices.refresh(index=new)
                self._client.indices.update_aliases(
                    actions=[*hold.kept(), *actions, self._unpublished(old), published]
                )
        finally:
            # What cannot be released now will be lifted by who is hindered.
            with suppress(RollbookError), self._explained():
                hold.release()
        return True

    def _remove_index(self, number: int) -> bool:
        """Remove a version's index; return False if another version went live meanwhile."""
        index = users_index(self._settings, number)
        found = self.versions()
        if not any(version.number == number for version in found):
            return True
        live = next((version.number for version in found if version.live), None)
        if live == number:
            raise Rejected(
                f"version {number} of {self.name} is live",
                code="version_is_live",
                next_step=f"`rollbook projector swap {self.name} VERSION` makes another live",
            )
        used = {"index": self._checkpoints_index, "alias": used_alias(index), "is_hidden": True}
        actions: list[dict[str, Any]] = [{"remove_index": {"index": index}}, {"add": used}]
        if live is not None:  # and if it still is
            there = users_index(self._settings, live)
            actions = [self._unpublished(there), self._published(there), *actions]
        try:
            with elasticsearch_available(self._settings):
                self._client.indices.update_aliases(actions=actions)
        except NotFoundError:
            return False
        return True

    def _create(self, number: int, body: dict[str, Any], aliases: Mapping[str, Any]) -> bool:
        """Create the index of a version; return False if it is there."""
        index = users_index(self._settings, number)
        aliases = {write_alias(index): {"is_hidden": True}, **aliases}
        return self._create_index(index, {**body, "aliases": aliases})

    def _create_index(self, index: str, body: Mapping[str, Any]) -> bool:
        try:
            self._client.indices.create(index=index, **body)
        except (ApiError, TransportError) as error:
            if isinstance(error, BadRequestError) and error.error == _EXISTS:
                return False
            raise explain(self._settings, error) from None
        return True

    def _note(self, number: int, facts: Mapping[str, Any]) -> None:
        """Change what stands in the `_meta` of a version."""
        index = users_index(self._settings, number)
        meta = {**_meta(self._indexes().get(index, {})), **facts}
        with self._explained(gone(index)):
            self._client.indices.put_mapping(index=index, meta=meta)

    def _indexes(self) -> dict[str, Any]:
        """Return the facts of every version's index, and of the one that has the used numbers."""
        with self._explained():
            answer = self._client.indices.get(
                index=f"{self._alias}-*", expand_wildcards="all", filter_path=_FACTS
            )
        return dict(answer)

    def _published(self, index: str) -> dict[str, Any]:
        return {"add": {"index": index, "alias": self._alias, "filter": NOT_GONE}}

    def _unpublished(self, index: str) -> dict[str, Any]:
        return {"remove": {"index": index, "alias": self._alias, "must_exist": True}}

    def _busy(self) -> Unavailable:
        return Unavailable(
            f"others change the versions of {self.name} at the same time",
            code="versions_busy",
            next_step=f"look at `rollbook projector versions {self.name}`, then try again",
        )

    @contextmanager
    def _explained(self, missing: RollbookError | None = None) -> Iterator[None]:
        with elasticsearch_available(self._settings):
            try:
                yield
            except NotFoundError:
                if missing is None:
                    raise
                raise missing from None


def _meta(facts: Mapping[str, Any]) -> dict[str, Any]:
    meta: dict[str, Any] = facts.get("mappings", {}).get("_meta", {})
    return {"state": BUILDING, "live_since": None, **meta}


def _now() -> int:
    return time.time_ns() // 1_000_000
