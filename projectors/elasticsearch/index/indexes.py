"""The indexes of this read model: the bodies that create them, and their names.

Each version is one index. Clients query the alias `rollbook-users`, which points to the live index
and hides the markers of deleted users.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from projectors.contract.read_model import BUILDING, Version
from projectors.contract.refusals import check_filled
from projectors.elasticsearch.index.mapping import USER_FIELDS, document
from runtime.settings import Settings
from schemas.records import UserEvent

USERS_ALIAS: Final = "rollbook-users"
CHECKPOINTS_ALIAS: Final = "rollbook-checkpoints"
CHECKPOINTS_INDEX: Final = "rollbook-checkpoints-1"

NOT_GONE: Final = {"term": {"gone": False}}
REFRESH_INTERVAL: Final = "1s"
_USED_SUFFIX: Final = "-dropped"
# These override index templates that match our names too: a pipeline would change documents, and
# without their source they could not be shown.
OWN_SETTINGS: Final = {"default_pipeline": "_none", "final_pipeline": "_none"}
# Merging on request then rewrites every segment with deleted documents: see `leftovers`.
EXPUNGES_ALL: Final = {"index.merge.policy.expunge_deletes_allowed": 0}
OWN_MAPPING: Final[dict[str, Any]] = {
    "dynamic": "strict",
    "_source": {"enabled": True},
    "_routing": {"required": False},
}

# The document of the user after an event.
ToDocument: TypeAlias = Callable[[UserEvent], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class DocumentShape:
    """The fields of a new index, and the function that fills them."""

    fields: Mapping[str, Any]
    document: ToDocument


USERS: Final = DocumentShape(USER_FIELDS, document)


def document_for(
    shape: DocumentShape, name: str, number: int, fields: Collection[str]
) -> ToDocument:
    """Return a function that makes documents for version `number`, which may have fewer fields.

    Raises `Misconfigured` (`other_shape`) if it has fields that `shape` does not fill.
    """
    check_filled(name, number, fields, shape.fields)
    if set(fields) == set(shape.fields):
        return shape.document
    make = shape.document
    return lambda event: {name: value for name, value in make(event).items() if name in fields}


def users_index(settings: Settings, number: int) -> str:
    """Return the name of the index of a version."""
    return f"{settings.named(USERS_ALIAS)}-{number}"


def meta_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a version, since when it is live and paused, from its index's facts."""
    meta: dict[str, Any] = facts.get("mappings", {}).get("_meta", {})
    return {"state": BUILDING, "live_since": None, "paused_at": None, **meta}


def version_of(settings: Settings, index: str, facts: Mapping[str, Any]) -> Version | None:
    """Return the version that an index belongs to, from its facts; None if there is none."""
    number = number_of(settings, index)
    if number is None:
        return None
    meta = meta_of(facts)
    live = settings.named(USERS_ALIAS) in facts["aliases"]
    created_at = int(facts["settings"]["index"]["creation_date"])
    # The time of the first version was taken before its index was created.
    live_since = meta["live_since"] and max(meta["live_since"], created_at)
    return Version(number, meta["state"], live, created_at, live_since, meta["paused_at"])


def number_of(settings: Settings, index: str) -> int | None:
    """Return the version that an index belongs to; None if it is not an index of a version."""
    found = re.fullmatch(re.escape(settings.named(USERS_ALIAS)) + r"-(\d+)", index)
    return int(found[1]) if found else None


def used_alias(index: str) -> str:
    """Return the alias of the checkpoint index that marks a dropped version's number as used.

    A number is never reused, so a projector of a dropped version cannot write to another version.
    """
    return f"{index}{_USED_SUFFIX}"


def next_number(settings: Settings, indexes: Mapping[str, Any]) -> int:
    """Return a number that no version has or ever had, given all indexes and their aliases."""
    names = [*indexes]
    for facts in indexes.values():
        names += [alias.removesuffix(_USED_SUFFIX) for alias in facts["aliases"]]
    numbers = [number_of(settings, name) for name in names]
    return 1 + max((number for number in numbers if number is not None), default=0)


def write_alias(index: str) -> str:
    """Return the alias that only writers use.

    A bulk request can require that an alias exists. Without that, writing to a deleted index would
    create it again, without its mapping.
    """
    return f"{index}-write"


def users_body(settings: Settings, shape: DocumentShape = USERS) -> dict[str, Any]:
    """Return the body that creates an index of users for queries, without aliases."""
    return {
        "settings": {
            "number_of_shards": 1,
            **EXPUNGES_ALL,
            **OWN_SETTINGS,
            **served_settings(settings),
        },
        "mappings": {**OWN_MAPPING, "properties": dict(shape.fields)},
    }


def new_meta(shape: DocumentShape, state: str, live_since: int | None) -> dict[str, Any]:
    """Return the `_meta` of a new index."""
    return {"state": state, "live_since": live_since, "fields": sorted(shape.fields)}


def own_fields(mapping: Mapping[str, Any]) -> Collection[str]:
    """Return the fields of an index that are ours, given its mapping.

    An index template of the organisation may have added others. Before rollbook noted its fields in
    `_meta`, all were taken for ours.
    """
    noted: Collection[str] | None = mapping.get("_meta", {}).get("fields")
    return mapping["properties"] if noted is None else noted


def served_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings of an index that clients query."""
    return {
        "refresh_interval": REFRESH_INTERVAL,
        "number_of_replicas": settings.elasticsearch_replicas,
    }


def building_settings() -> dict[str, Any]:
    """Return the settings of an index that is being filled and not yet queried.

    Refreshes and replicas slow indexing down. The translog is still synced before a request is
    answered, because after a crash the checkpoint, which is in another index, must not be ahead of
    the documents.
    """
    return {"refresh_interval": -1, "number_of_replicas": 0}
