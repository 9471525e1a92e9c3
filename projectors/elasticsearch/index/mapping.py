"""The fields of a user in the index, and the document of a user.

Uses only what every distribution of Elasticsearch has: the `standard` analyzer and no scripts.
`projectors.elasticsearch.folding` folds accents into separate fields, which searches use; `name`
and `email` stay as written, for Kibana and for results.
"""

from typing import Any, Final

from projectors.elasticsearch.folding import fold_words
from schemas.fields.rules import age_group
from schemas.records import UserEvent

_WORDS: Final = {
    "type": "text",
    # A word either matches or not. The query weighs exact, prefix and fuzzy matches, and the rarity
    # of a misspelt word must not outweigh those weights.
    "similarity": "boolean",
    "norms": False,
}
# A prefix search looks up one term instead of expanding into thousands. Costs a sixth of the
# indexing rate.
_PREFIXES: Final = {"index_prefixes": {"min_chars": 1, "max_chars": 5}}
_KEYWORD: Final = {"type": "keyword"}
DATE: Final = {"type": "date", "format": "epoch_millis||strict_date_optional_time"}

USER_FIELDS: Final[dict[str, Any]] = {
    "user_id": _KEYWORD,
    "email": {"type": "keyword", "normalizer": "lowercase"},
    "email_domain": _KEYWORD,
    "email_folded": {**_WORDS, **_PREFIXES, "index_options": "docs"},
    "name": _WORDS,
    "name_folded": {**_WORDS, **_PREFIXES, "fields": {"keyword": _KEYWORD}},
    "age": {"type": "integer"},
    "age_group": _KEYWORD,
    "created_at": DATE,
    "updated_at": DATE,
    "version": {"type": "long", "index": False},
    "gone": {"type": "boolean"},
}


def document(event: UserEvent) -> dict[str, Any]:
    """Return the document of the user after `event`: all `USER_FIELDS`, or a marker if deleted."""
    user = event["user"]
    if user is None:
        return {
            "user_id": event["user_id"],
            "version": event["version"],
            "updated_at": event["occurred_at"],
            "gone": True,
        }
    email, name, age = user["email"], user["name"], user["age"]
    in_name = fold_words(name)
    return {
        "user_id": event["user_id"],
        "version": event["version"],
        "updated_at": event["occurred_at"],
        "gone": False,
        "email": email,
        "email_domain": email.rpartition("@")[2],
        # Most addresses repeat the name: index each word once.
        "email_folded": " ".join([word for word in fold_words(email) if word not in in_name]),
        "name": name,
        "name_folded": " ".join(in_name),
        "age": age,
        "age_group": age_group(age),
        "created_at": user["created_at"],
    }
