"""The indexes of this read model: what each is made with, and the names it goes by."""

from typing import Any, Final

from projectors.elasticsearch.mapping import DATE, USER_FIELDS
from runtime.settings import Settings

USERS_ALIAS: Final = "rollbook-users"
USERS_INDEX: Final = "rollbook-users-1"
CHECKPOINTS_ALIAS: Final = "rollbook-checkpoints"
CHECKPOINTS_INDEX: Final = "rollbook-checkpoints-1"

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


def users_index(settings: Settings) -> dict[str, Any]:
    """Return the body that creates the index of users, with its two aliases.

    People query the filtered one, which hides the markers of users who are gone. The writer uses
    the other, because a bulk request can insist that an alias exists: without that, writing to an
    index that was deleted would create it again, without this mapping.
    """
    return {
        "settings": _index_settings(settings) | {"refresh_interval": "1s"},
        "mappings": {"dynamic": "strict", "properties": USER_FIELDS},
        "aliases": {
            settings.named(USERS_ALIAS): {"filter": {"term": {"gone": False}}},
            write_alias(settings): {"is_hidden": True},
        },
    }


def checkpoints_index(settings: Settings) -> dict[str, Any]:
    """Return the body that creates the index of checkpoints."""
    return {
        "settings": _index_settings(settings) | {"hidden": True},
        "mappings": {"dynamic": "strict", "properties": _CHECKPOINT_FIELDS},
        "aliases": {settings.named(CHECKPOINTS_ALIAS): {"is_hidden": True}},
    }


def write_alias(settings: Settings) -> str:
    """Return the alias that only the writer uses."""
    return f"{settings.named(USERS_INDEX)}-write"


def _index_settings(settings: Settings) -> dict[str, Any]:
    return {"number_of_shards": 1, "number_of_replicas": settings.elasticsearch_replicas}
