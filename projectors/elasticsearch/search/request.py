"""A search (text, age limits, order, facets) as a request to Elasticsearch."""

from dataclasses import astuple, dataclass
from hashlib import blake2b
from typing import Any, Final, Literal, get_args

from projectors.elasticsearch.search.facets import AGGREGATIONS
from projectors.elasticsearch.search.text import Typos, invalid_query, text_query, words_of
from schemas.fields.rules import AGE_MAX_YEARS, age_bound

Sort = Literal["relevance", "name", "age", "created", "updated"]
SORTS: Final[tuple[Sort, ...]] = get_args(Sort)
AGE_GROUPS: Final = ("teen", "adult", "senior")

_BY_NAME: Final = {"name_folded.keyword": "asc"}
_BY_ID: Final = {"user_id": "asc"}
# People expect the newest first, and names and ages in ascending order.
_ORDERS: Final[dict[str, list[dict[str, str]]]] = {
    "relevance": [{"_score": "desc"}, _BY_NAME, _BY_ID],
    "name": [_BY_NAME, _BY_ID],
    "age": [{"age": "asc"}, _BY_ID],
    "created": [{"created_at": "desc"}, _BY_ID],
    "updated": [{"updated_at": "desc"}, _BY_ID],
}
_REVERSED: Final = {"asc": "desc", "desc": "asc"}


@dataclass(frozen=True, slots=True)
class Search:
    """A search. Every part is optional; without a text, all users are found.

    `age_groups` are any of teen, adult and senior; the age limits are inclusive. `sort` is an
    order: best match first, by name or age, or newest first; `reverse` reverses it. `highlight`
    marks the matches within each user, `facets` counts all users found. Raises `Rejected`
    (`invalid_query`) for a search that makes no sense.
    """

    text: str = ""
    min_age: int = 0
    max_age: int = AGE_MAX_YEARS
    age_groups: tuple[str, ...] = ()
    sort: Sort = "relevance"
    reverse: bool = False
    highlight: bool = False
    facets: bool = False

    def __post_init__(self) -> None:
        if self.has_text:
            words_of(self.text)
        if self.min_age > self.max_age:
            raise invalid_query("the minimum age is above the maximum age", "swap them")
        if unknown := set(self.age_groups) - set(AGE_GROUPS):
            raise invalid_query(
                f"there is no age group {min(unknown)}", f"choose from {', '.join(AGE_GROUPS)}"
            )
        if self.sort not in SORTS:
            raise invalid_query(
                f"there is no order {self.sort}", f"choose one of {', '.join(SORTS)}"
            )
        if self.reverse and self.sort == "relevance":
            raise invalid_query(
                "relevance cannot be reversed", "choose another order, such as name"
            )

    @property
    def has_text(self) -> bool:
        """Whether there is a text to search for."""
        return bool(self.text.strip())

    def digest(self) -> str:
        """Return a digest of everything that decides which users are found, and in which order."""
        parts = repr(astuple(self)[:6])
        return blake2b(parts.encode(), digest_size=6).hexdigest()

    def order(self) -> list[dict[str, str]]:
        """Return the sort order, which ends with the user id so that it is total."""
        order = _ORDERS[self.sort]
        if not self.reverse:
            return order
        return [{field: _REVERSED[way] for field, way in key.items()} for key in order]

    def body(self, typos: Typos) -> dict[str, Any]:
        """Return the request without its size, place and index."""
        query: dict[str, Any] = {"filter": self._filters()}
        if self.has_text:
            query["must"] = text_query(self.text, typos)
        body = {"query": {"bool": query}, "sort": self.order(), "track_total_hits": self.facets}
        return body | {"aggs": AGGREGATIONS} if self.facets else body

    def _filters(self) -> list[dict[str, Any]]:
        filters: list[dict[str, Any]] = []
        if (self.min_age, self.max_age) != (0, AGE_MAX_YEARS):
            filters.append(
                {"range": {"age": {"gte": self.min_age, "lte": age_bound(self.max_age)}}}
            )
        if self.age_groups:
            filters.append({"terms": {"age_group": list(self.age_groups)}})
        return filters
