"""The fields of a user in the index, and what a user becomes as a document.

Only what every Elasticsearch has is used: no analyzer beyond `standard`, no script. Accents are
folded by `projectors.folding` into fields of their own, which are what a search asks; `name` and
`email` stay as written, for Kibana and for the answer.
"""

from typing import Any, Final

import orjson

from projectors.folding import fold
from schemas.records import UserEvent
from schemas.rules import age_group

# A search for the beginning of a word finds one term instead of expanding into hundreds.
_FOLDED_TEXT: Final = {
    "type": "text",
    "index_prefixes": {"min_chars": 1, "max_chars": 5},
    # A word matches or does not: the query says what exact, prefix and typo are worth, and the
    # rarity of a misspelt word must not outweigh them.
    "similarity": "boolean",
    "norms": False,
}
DATE: Final = {"type": "date", "format": "epoch_millis||strict_date_optional_time"}

USER_FIELDS: Final[dict[str, Any]] = {
    "user_id": {"type": "keyword"},
    "email": {"type": "keyword"},
    "email_key": {"type": "keyword", "doc_values": False},
    "email_folded": _FOLDED_TEXT,
    "name": {"type": "text", "fields": {"keyword": {"type": "keyword"}}},
    "name_folded": _FOLDED_TEXT,
    "age": {"type": "integer"},
    "age_group": {"type": "keyword"},
    "created_at": DATE,
    "updated_at": DATE,
    "version": {"type": "long"},
    "gone": {"type": "boolean"},
}


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
    """Return the document of the user after `event`: all of `USER_FIELDS`, or a marker."""
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
