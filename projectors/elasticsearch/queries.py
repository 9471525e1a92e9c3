"""Finds people by what they are called, however it is typed.

Every word that is typed must be found, in the name or in the parts of the e-mail address: as it is,
with a typo, or, for the last word, as the beginning of one. A whole e-mail address comes first.

People who are gone are hidden by the alias; a GET by id would not respect its filter, so there is
none here.
"""

from types import TracebackType
from typing import Any, Final, Self

from elasticsearch import NotFoundError

from projectors.elasticsearch.client import (
    QUERY_TIMEOUT_SECONDS,
    connect,
    elasticsearch_available,
)
from projectors.elasticsearch.indexes import USERS_ALIAS
from projectors.folding import fold
from runtime.settings import Settings
from schemas.errors import Rejected, Unavailable
from schemas.rules import to_datetime

TEXT_MAX_CHARACTERS: Final = 300
WORDS_MAX: Final = 20  # each one costs a handful of look-ups
LIMIT_MAX: Final = 1000

# What a way of matching a word is worth. Steps of two, so that a better way of one word outweighs
# where it was found; a typo is worth less the more of the word it changes.
_EXACT, _PREFIX, _TYPO = 8.0, 4.0, 2.0
_NAME, _EMAIL = 1.0, 0.7
_WHOLE_EMAIL = 1000.0
# Rarity of words and shortness of names: only decides between equals.
_AS_WRITTEN = 0.05

_SHOWN: Final = (
    "user_id",
    "name",
    "email",
    "age",
    "age_group",
    "created_at",
    "updated_at",
    "version",
)


class UserSearch:
    """A connection for searches; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = connect(settings, timeout_seconds=QUERY_TIMEOUT_SECONDS)

    def search_users(self, text: str, *, limit: int = 10) -> list[dict[str, Any]]:
        """Return the users that `text` finds, best first, at most `limit` (1–1000).

        Each has user_id, name, email, age, age_group, created_at, updated_at (UTC), version and
        score. Equals come in order of user id. Raises `Rejected` (`invalid_query`) if `text` has no
        word or is too long, `Unavailable` also if there is no index yet.
        """
        found = self._ask(search_query(text), limit)
        known_address = bool(found) and found[0]["score"] >= _WHOLE_EMAIL
        if len(found) < limit and not known_address:
            # Looking for typos costs several times the rest; what it adds comes last anyway.
            found = self._ask(search_query(text, typos=True), limit)
        return found

    def _ask(self, query: dict[str, Any], limit: int) -> list[dict[str, Any]]:
        with elasticsearch_available(self._settings):
            try:
                answer = self._client.search(
                    index=self._settings.named(USERS_ALIAS),
                    query=query,
                    size=limit,
                    sort=[{"_score": "desc"}, {"user_id": "asc"}],
                    source={"includes": list(_SHOWN)},
                    track_total_hits=False,
                    allow_partial_search_results=False,
                )
            except NotFoundError:
                raise Unavailable(
                    "there is no index of users yet",
                    code="read_model_missing",
                    next_step="`rollbook projector run elasticsearch` makes and fills it",
                ) from None
        return [_user(hit) for hit in answer["hits"]["hits"]]

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()


def search_users(settings: Settings, text: str, *, limit: int = 10) -> list[dict[str, Any]]:
    """Search once; see `UserSearch.search_users`. For many searches keep a `UserSearch`."""
    with UserSearch(settings) as search:
        return search.search_users(text, limit=limit)


def search_query(text: str, *, typos: bool = False) -> dict[str, Any]:
    """Return the query for `text`; raise `Rejected` (`invalid_query`) if there is nothing to find.

    With `typos` it finds the same, in the same order, and then what is spelt nearly so. The text is
    folded by the same function as what is stored, so neither accents nor case matter.
    """
    if len(text) > TEXT_MAX_CHARACTERS:
        raise _invalid(f"the text is longer than {TEXT_MAX_CHARACTERS} characters")
    words = fold(text).split()
    if not words:
        raise _invalid("the text has no letter and no digit")
    if len(words) > WORDS_MAX:
        raise _invalid(f"the text has more than {WORDS_MAX} words")
    each = [
        _word(word, last=number == len(words), typos=typos) for number, word in enumerate(words, 1)
    ]
    typed = text.strip().encode(errors="ignore").decode()
    rank = [{"match": {"name": {"query": typed, "boost": _AS_WRITTEN}}}]
    ways = [{"bool": {"must": each, "should": rank}}]
    if "@" in typed:
        ways.append(
            {"constant_score": _boosted({"filter": {"term": {"email": typed}}}, _WHOLE_EMAIL)}
        )
    return {"dis_max": {"queries": ways}}


def _word(word: str, *, last: bool, typos: bool) -> dict[str, Any]:
    """Return the ways to find one word, of which the best counts.

    `match` is used even for one word, because Elasticsearch cuts text without spaces, such as
    Chinese, into smaller ones.
    """
    ways: list[dict[str, Any]] = []
    for field, worth, sure in (("name_folded", _NAME, 0), ("email_folded", _EMAIL, 1)):
        same = {"query": word, "operator": "and"}
        ways.append({"match": {field: _boosted(same, _EXACT * worth)}})
        if last:
            prefix = {"match_bool_prefix": {field: {"query": word, "operator": "and"}}}
            ways.append({"constant_score": _boosted({"filter": prefix}, _PREFIX * worth)})
        if typos:
            # Nearly every address is a word of its own: among so many the first letter must be
            # right, which spares looking at most of them.
            typo = {**same, "fuzziness": "AUTO", "prefix_length": sure}
            ways.append({"match": {field: _boosted(typo, _TYPO * worth)}})
    return {"dis_max": {"queries": ways}}


def _boosted(query: dict[str, Any], boost: float) -> dict[str, Any]:
    return {**query, "boost": boost}


def _user(hit: dict[str, Any]) -> dict[str, Any]:
    source = hit["_source"]
    user = {name: source[name] for name in _SHOWN}
    for name in ("created_at", "updated_at"):
        user[name] = to_datetime(user[name])
    return {**user, "score": round(hit["sort"][0], 2)}


def _invalid(message: str) -> Rejected:
    return Rejected(message, code="invalid_query", next_step="give a name or an e-mail address")
