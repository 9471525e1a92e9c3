"""The fields of a user in the index, and what a user becomes as a document.

Only what every Elasticsearch has is used: no analyzer beyond `standard`, no script. Accents are
folded by `projectors.elasticsearch.folding` into separate fields, which searches use; `name` and
`email` stay as written, for Kibana and for the answer.
"""

from typing import Any, Final

from projectors.elasticsearch.folding import fold_words
from schemas.records import UserEvent
from schemas.rules import age_group

_WORDS: Final = {
    "type": "text",
    # A word matches or does not: the query says what exact, prefix and typo are worth, and the
    # rarity of a misspelt word must not outweigh them.
    "similarity": "boolean",
    "norms": False,
}
# A search for the beginning of a word finds one term instead of expanding into thousands. Costs
# a sixth of the rate of writing.
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
    """Return the document of the user after `event`: all of `USER_FIELDS`, or a marker."""
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
        # The usual address repeats the name: each word is indexed once.
        "email_folded": " ".join([word for word in fold_words(email) if word not in in_name]),
        "name": name,
        "name_folded": " ".join(in_name),
        "age": age,
        "age_group": age_group(age),
        "created_at": user["created_at"],
    }
