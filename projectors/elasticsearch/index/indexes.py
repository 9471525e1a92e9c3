"""The indexes of this read model: what each is made with, and the names it goes by.

Each version is an index of its own. People query the alias `rollbook-users`, which is on the one
that is live and hides the markers of users who are gone.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from projectors.elasticsearch.index.mapping import DATE, USER_FIELDS, document
from runtime.settings import Settings
from schemas.errors import Misconfigured
from schemas.records import UserEvent

USERS_ALIAS: Final = "rollbook-users"
CHECKPOINTS_ALIAS: Final = "rollbook-checkpoints"
CHECKPOINTS_INDEX: Final = "rollbook-checkpoints-1"

NOT_GONE: Final = {"term": {"gone": False}}
REFRESH_INTERVAL: Final = "1s"
_USED: Final = "-dropped"

_CHECKPOINT_FIELDS: Final[dict[str, Any]] = {
    "index": {"type": "keyword"},
    # Data and checkpoint stay together: a checkpoint of an index that was deleted counts for
    # nothing in the one that took its name.
    "index_uuid": {"type": "keyword"},
    "partition": {"type": "integer"},
    "topic_id": {"type": "keyword"},
    "next_offset": {"type": "long"},
    "last_seq": {"type": "long"},
    "applied_at": DATE,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a new index is made with: its fields, and the document that fills them for an event."""

    fields: Mapping[str, Any]
    document: Callable[[UserEvent], dict[str, Any]]


USERS: Final = Shape(USER_FIELDS, document)


def document_for(
    shape: Shape, index: str, fields: Collection[str]
) -> Callable[[UserEvent], dict[str, Any]]:
    """Return what makes documents of `shape` for an older index, which may have fewer fields.

    Raises `Misconfigured` (`other_shape`) if it has fields that `shape` does not fill.
    """
    unknown = set(fields) - set(shape.fields)
    if unknown:
        raise Misconfigured(
            f"index {index} has fields this rollbook cannot fill: {', '.join(sorted(unknown))}",
            code="other_shape",
            next_step="a newer rollbook made it: run that one, or swap to an older version",
        )
    if set(fields) == set(shape.fields):
        return shape.document
    make = shape.document
    return lambda event: {name: value for name, value in make(event).items() if name in fields}


def users_index(settings: Settings, number: int) -> str:
    """Return the name of a version's index."""
    return f"{settings.named(USERS_ALIAS)}-{number}"


def number_of(settings: Settings, index: str) -> int | None:
    """Return the version whose index it is; None if it is another index."""
    found = re.fullmatch(re.escape(settings.named(USERS_ALIAS)) + r"-(\d+)", index)
    return int(found[1]) if found else None


def used_alias(index: str) -> str:
    """Return the alias on the index of checkpoints that stays when a version is dropped.

    Its number is not given again: a projector of the one version can then never write to another.
    """
    return f"{index}{_USED}"


def next_number(settings: Settings, indexes: Mapping[str, Any]) -> int:
    """Return a number that no version has or had, from all indexes and their aliases."""
    names = [*indexes]
    for facts in indexes.values():
        names += [alias.removesuffix(_USED) for alias in facts["aliases"]]
    numbers = [number_of(settings, name) for name in names]
    return 1 + max((number for number in numbers if number is not None), default=0)


def write_alias(index: str) -> str:
    """Return the alias that only writers use.

    A bulk request can insist that an alias exists: without that, writing to an index that was
    deleted would create it again, without its mapping.
    """
    return f"{index}-write"


def users_body(settings: Settings, shape: Shape = USERS) -> dict[str, Any]:
    """Return the body that creates an index of users, but for aliases: as queries want it."""
    return {
        "settings": {"number_of_shards": 1, **served_settings(settings)},
        "mappings": {"dynamic": "strict", "properties": dict(shape.fields)},
    }


def served_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings of an index that people query."""
    return {
        "refresh_interval": REFRESH_INTERVAL,
        "number_of_replicas": settings.elasticsearch_replicas,
    }


def building_settings() -> dict[str, Any]:
    """Return the settings of an index that is being filled and that nobody queries.

    Small segments for searches and copies of each document are what makes indexing slow. Its log is
    still on disk before a request is answered: the checkpoint, which is in another index, would
    otherwise be ahead of the documents after a crash.
    """
    return {"refresh_interval": -1, "number_of_replicas": 0}


def checkpoints_body(settings: Settings) -> dict[str, Any]:
    """Return the body that creates the index of checkpoints."""
    return {
        "settings": {
            "number_of_shards": 1,
            "number_of_replicas": settings.elasticsearch_replicas,
            "hidden": True,
        },
        "mappings": {"dynamic": "strict", "properties": _CHECKPOINT_FIELDS},
        "aliases": {settings.named(CHECKPOINTS_ALIAS): {"is_hidden": True}},
    }
