"""Finds users by name or e-mail address, tolerating typos.

Every typed word must match, in the name or in the address. A complete address ranks first, then
exact words, then prefixes. Typos are tolerated only when a search without them finds less than a
page: that costs several times as much, and what it adds ranks last. Names, misspelt names,
addresses and last names among a million users, on two cores with other work: median 5 ms, p99
27 ms. Elasticsearch takes four times as long with typos as without.

The alias hides deleted users. GET by id and suggesters ignore its filter and are not used here.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
from elasticsearch import ApiError, BadRequestError, NotFoundError, TransportError

from projectors.elasticsearch.client import (
    QUERY_TIMEOUT_SECONDS,
    connect,
    elasticsearch_available,
)
from projectors.elasticsearch.index.indexes import USERS_ALIAS
from projectors.elasticsearch.search.cursor import (
    KEEP_ALIVE,
    Place,
    expired,
    invalid_cursor,
    read_cursor,
    write_cursor,
)
from projectors.elasticsearch.search.facets import (
    Facets,
    creations_body,
    read_creations,
    read_facets,
)
from projectors.elasticsearch.search.highlights import highlights
from projectors.elasticsearch.search.request import Search
from projectors.elasticsearch.search.text import WHOLE_EMAIL, Typos, max_typos, words_of
from projectors.log.times import iso_time
from runtime.closing import Closing
from runtime.settings import Settings
from schemas.errors import Rejected, Unavailable
from schemas.fields.rules import to_datetime

LIMIT_MAX: Final = 1000
_ENOUGH: Final = 10  # users found without typos: a first page
_JSON: Final = {"content-type": "application/json", "accept": "application/json"}
_SUGGESTED: Final = ("user_id", "name", "email")
_SHOWN: Final = (*_SUGGESTED, "age", "age_group", "created_at", "updated_at", "version")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the users that a search finds.

    A user has user_id, name, email, age, age_group, created_at, updated_at (UTC) and version; score
    if sorted by relevance; on request, highlights: field → escaped HTML with <em> around matches.
    `next` is the cursor of the next page, None on the last page. `facets` is None unless requested.
    """

    users: list[dict[str, Any]]
    next: str | None = None
    facets: Facets | None = None


class UserSearch(Closing):
    """Searches over one client. Thread-safe.

    Methods take a text, or a `Search` with limits and an order. Each raises `Rejected`
    (`invalid_query`) for a text that is too long or has no words, and `Unavailable`, also if no
    index exists yet.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = connect(settings, timeout_seconds=QUERY_TIMEOUT_SECONDS, is_query=True)

    def search_users(self, search: str | Search, *, limit: int = 10) -> list[dict[str, Any]]:
        """Return at most `limit` (1–1000) users, best match first; see `Page`.

        Equal matches are in order of name, then user id. Typos are tolerated only if few users
        match exactly or, in any order other than best match first, if none does.
        """
        return self._find(_search(search), Place(), limit)[0].users

    def page(self, search: str | Search, *, limit: int = 10, cursor: str | None = None) -> Page:
        """Return the first page of a search, or the page at the cursor that a page had as `next`.

        All pages show the index as it was when the first was read, but without the users who were
        deleted or erased since; each page keeps that for another five minutes. A page may have
        fewer users than `limit` although another follows. Raises `Rejected` with code
        `invalid_cursor` or `cursor_expired`.
        """
        search = _search(search)
        place = read_cursor(cursor, search) if cursor is not None else self._open()
        page, onward = self._find(search, place, limit)
        if onward is None:
            self._release(place)
            return page
        return replace(page, next=write_cursor(onward, search))

    def every_user(self, search: str | Search) -> Iterator[dict[str, Any]]:
        """Yield all users found, from one point in time, with one page in memory at a time.

        Users who were deleted or erased before their page was read are left out. If the caller
        takes longer than five minutes for a page, the search continues after the last user in the
        index as it is then: a user who moved in the order meanwhile may come twice or not at all.
        """
        search = _search(search)
        place = self._open()
        try:
            onward: Place | None = place
            while onward is not None:
                place = onward
                page, onward = self._find_again(search, place)
                yield from page.users
        finally:
            self._release(onward or place)

    def _find_again(self, search: Search, place: Place) -> tuple[Page, Place | None]:
        """Return the page at `place`, in a new point in time if that of `place` has expired."""
        try:
            return self._find(search, place, LIMIT_MAX)
        except Rejected as error:
            if error.code != "cursor_expired":
                raise
        reopened = replace(place, point_in_time=self._open().point_in_time)
        return self._find(search, reopened, LIMIT_MAX)

    def suggest_users(self, prefix: str, *, limit: int = 10) -> list[dict[str, Any]]:
        """Return users that match a prefix while it is typed: user_id, name and email of each.

        Each word may be the prefix of any word in the name or the address. Typos are tolerated only
        if no user matches exactly, because every key press must be answered quickly.
        """
        words_of(prefix)
        search = Search(prefix)
        for typos in Typos.NONE, Typos.ONE:
            hits = self._request(search, Place(typos=typos), limit, _SUGGESTED)["hits"]["hits"]
            if hits:
                break
        return [hit["_source"] for hit in hits]

    def count_creations(self, minutes: int) -> list[int]:
        """Return how many users were created in each of the last minutes, the oldest first.

        Users who are deleted or erased by now are not counted. The last minute is not over.
        """
        with self._existing_index():
            return read_creations(self._post(f"/{self._index}/_search", creations_body(minutes)))

    def _find(self, search: Search, place: Place, limit: int) -> tuple[Page, Place | None]:
        """Return the page at `place`, and the place of the next page, None after the last."""
        limit = max(1, min(limit, LIMIT_MAX))
        answer = self._request(search, place, limit + 1, _SHOWN)
        if place.after is None:
            while (typos := _next_tolerance(search, place.typos, answer, limit)) is not None:
                place = replace(place, typos=typos)
                answer = self._request(search, place, limit + 1, _SHOWN)
        hits = answer["hits"]["hits"]
        facets = read_facets(answer) if search.facets else None
        shown = hits[:limit] if place.after is None else self._without_gone(hits[:limit])
        page = Page([_user(hit, search) for hit in shown], facets=facets)
        if len(hits) <= limit:
            return page, None
        point_in_time = answer.get("pit_id", place.point_in_time)
        return page, replace(place, point_in_time=point_in_time, after=hits[limit - 1]["sort"])

    def _without_gone(self, hits: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Leave out users who were deleted or erased after the point in time was opened."""
        if not hits:
            return []
        with self._existing_index():
            answer = self._client.mget(
                index=self._index, ids=[hit["_id"] for hit in hits], source_includes=["gone"]
            )
        still = {one["_id"] for one in answer["docs"] if not _is_gone(one)}
        return [hit for hit in hits if hit["_id"] in still]

    def _request(
        self, search: Search, place: Place, size: int, fields: tuple[str, ...]
    ) -> dict[str, Any]:
        body = search.body(place.typos) | {"size": size, "_source": fields}
        path = f"/{self._index}/_search"
        if place.point_in_time is not None:
            body["pit"] = {"id": place.point_in_time, "keep_alive": KEEP_ALIVE}
            path = "/_search"
        if place.after is None:
            with self._existing_index():
                return self._post(path, body)
        body["search_after"] = place.after
        with elasticsearch_available(self._settings):
            try:
                return self._post(path, body)
            except NotFoundError:
                raise expired() from None
            except BadRequestError:
                raise invalid_cursor() from None

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._client.perform_request(
            "POST",
            path,
            params={"allow_partial_search_results": "false"},
            headers=_JSON,
            body=orjson.dumps(body),
        ).body
        return answer

    @property
    def _index(self) -> str:
        return self._settings.named(USERS_ALIAS)

    def _existing_index(self) -> AbstractContextManager[None]:
        missing = Unavailable(
            "the index of users does not exist yet",
            code="read_model_missing",
            next_step="`rollbook projector run elasticsearch` creates and fills it",
        )
        return elasticsearch_available(self._settings, missing)

    def _open(self) -> Place:
        with self._existing_index():
            answer = self._client.open_point_in_time(index=self._index, keep_alive=KEEP_ALIVE)
        return Place(answer["id"])

    def _release(self, place: Place) -> None:
        """Release a point in time now instead of in minutes."""
        with suppress(ApiError, TransportError):
            self._client.close_point_in_time(id=place.point_in_time)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def search_users(
    settings: Settings, search: str | Search, *, limit: int = 10
) -> list[dict[str, Any]]:
    """Search once; see `UserSearch.search_users`. For repeated searches, keep a `UserSearch`."""
    with UserSearch(settings) as connection:
        return connection.search_users(search, limit=limit)


def user_fields(user: dict[str, Any]) -> dict[str, Any]:
    """Return a user of a `Page` as commands print it and services answer it."""
    return user | {name: iso_time(user[name]) for name in ("created_at", "updated_at")}


def _search(search: str | Search) -> Search:
    if isinstance(search, Search):
        return search
    words_of(search)  # raises if there is none: an empty text does not mean all users
    return Search(search)


def _next_tolerance(
    search: Search, typos: Typos, answer: dict[str, Any], limit: int
) -> Typos | None:
    """Return the tolerance to try next, None if enough was found or nothing is left to try."""
    hits = answer["hits"]["hits"]
    whole_address = bool(hits) and (hits[0]["_score"] or 0) >= WHOLE_EMAIL
    if not search.has_text or whole_address:
        return None
    if typos == Typos.NONE:
        # In any other order, users with typos would be mixed with exact matches.
        enough = min(limit, _ENOUGH) if search.sort == "relevance" else 1
        return Typos.ONE if len(hits) < enough else None
    return None if hits or typos == max_typos(search.text) else Typos(typos + 1)


def _is_gone(found: dict[str, Any]) -> bool:
    """Return whether an answer to a GET by id, which ignores the alias's filter, is a marker."""
    return not found.get("found") or bool(found["_source"]["gone"])


def _user(hit: dict[str, Any], search: Search) -> dict[str, Any]:
    user: dict[str, Any] = hit["_source"]
    for name in ("created_at", "updated_at"):
        user[name] = to_datetime(user[name])
    if hit["_score"] is not None and search.has_text:
        user["score"] = round(hit["_score"], 2)
    if search.highlight:
        user["highlights"] = highlights(search.text, name=user["name"], email=user["email"])
    return user
