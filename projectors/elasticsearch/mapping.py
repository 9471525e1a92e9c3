"""What the indexes look like, and what a user becomes as a document.

Only what every Elasticsearch has is used: no analyzer beyond `standard`, no script. Accents are
folded by `projectors.folding` into fields of their own, which are what a search asks; `name` and
`email` stay as written, for Kibana and for the answer.
"""

from typing import Any, Final

import orjson

from projectors.folding import fold
from runtime.settings import Settings
from schemas.records import UserEvent
from schemas.rules import age_group

USERS_ALIAS: Final = "rollbook-users"
USERS_INDEX: Final = "rollbook-users-1"
CHECKPOINTS_ALIAS: Final = "rollbook-checkpoints"
CHECKPOINTS_INDEX: Final = "rollbook-checkpoints-1"

# A search for the beginning of a word finds one term instead of expanding into hundreds.
_FOLDED_TEXT: Final = {
    "type": "text",
    "index_prefixes": {"min_chars": 1, "max_chars": 5},
    # A word matches or does not: the query says what exact, prefix and typo are worth, and the
    # rarity of a misspelt word must not outweigh them.
    "similarity": "boolean",
    "norms": False,
}
_DATE: Final = {"type": "date", "format": "epoch_millis||strict_date_optional_time"}

_USER_FIELDS: Final[dict[str, Any]] = {
    "user_id": {"type": "keyword"},
    "email": {"type": "keyword"},
    "email_key": {"type": "keyword", "doc_values": False},
    "email_folded": _FOLDED_TEXT,
    "name": {"type": "text", "fields": {"keyword": {"type": "keyword"}}},
    "name_folded": _FOLDED_TEXT,
    "age": {"type": "integer"},
    "age_group": {"type": "keyword"},
    "created_at": _DATE,
    "updated_at": _DATE,
    "version": {"type": "long"},
    "gone": {"type": "boolean"},
}

_CHECKPOINT_FIELDS: Final[dict[str, Any]] = {
    "index": {"type": "keyword"},
    # Data and checkpoint stay together: a checkpoint of an index that was deleted counts for
    # nothing in the one that took its name.
    "index_uuid": {"type": "keyword"},
    "partition": {"type": "integer"},
    "topic_id": {"type": "keyword"},
    "next_offset": {"type": "long"},
    "last_seq": {"type": "long"},
    "applied_at": _DATE,
}


def users_index(settings: Settings) -> dict[str, Any]:
    """Return the body that creates the index of users, with its two aliases.

    People query the filtered one, which hides the markers of users who are gone. The writer uses
    the other, because a bulk request can insist that an alias exists: without that, writing to an
    index that was deleted would create it again, without this mapping.
    """
    return {
        "settings": _index_settings(settings) | {"refresh_interval": "1s"},
        "mappings": {"dynamic": "strict", "properties": _USER_FIELDS},
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


def bulk_lines(event: UserEvent) -> bytes:
    """Return the two lines of a bulk body that store the state after `event`.

    The user's version is the document's, so that an older event never replaces a newer one. A user
    who is gone becomes a marker without personal data: Elasticsearch forgets the version of a
    deleted document after a minute, and a late event would bring the user back.
    """
    action = b'{"index":{"_id":"%b","version":%d,"version_type":"external"}}\n' % (
        event["user_id"].encode(),
        event["version"],
    )
    return action + orjson.dumps(document(event), option=orjson.OPT_APPEND_NEWLINE)


def document(event: UserEvent) -> dict[str, Any]:
    """Return the document of the user after `event`: all of `_USER_FIELDS`, or a marker."""
    user = event["user"]
    common = {
        "user_id": event["user_id"],
        "version": event["version"],
        "updated_at": event["occurred_at"],
    }
    if user is None:
        return {**common, "gone": True}
    email, name, age = user["email"], user["name"], user["age"]
    return {
        **common,
        "gone": False,
        "email": email,
        "email_key": user["email_key"],
        "email_folded": fold(email),
        "name": name,
        "name_folded": fold(name),
        "age": age,
        "age_group": age_group(age),
        "created_at": user["created_at"],
    }
