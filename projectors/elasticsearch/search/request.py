"""What a search can be asked beside a text, limits of age, an order and counts, as a request."""

from dataclasses import astuple, dataclass
from hashlib import blake2b
from typing import Any, Final, Literal, get_args

from projectors.elasticsearch.search.facets import AGGREGATIONS
from projectors.elasticsearch.search.text import Slips, invalid, text_query, words_of
from schemas.rules import AGE_MAX_YEARS

Sort = Literal["relevance", "name", "age", "created", "updated"]
SORTS: Final[tuple[Sort, ...]] = get_args(Sort)
AGE_GROUPS: Final = ("teen", "adult", "senior")

_BY_NAME: Final = {"name_folded.keyword": "asc"}
_BY_ID: Final = {"user_id": "asc"}
# People expect the newest first, and everything else from its beginning.
_ORDERS: Final[dict[str, list[dict[str, str]]]] = {
    "relevance": [{"_score": "desc"}, _BY_NAME, _BY_ID],
    "name": [_BY_NAME, _BY_ID],
    "age": [{"age": "asc"}, _BY_ID],
    "created": [{"created_at": "desc"}, _BY_ID],
    "updated": [{"updated_at": "desc"}, _BY_ID],
}
_OTHER_WAY: Final = {"asc": "desc", "desc": "asc"}


@dataclass(frozen=True, slots=True)
class Search:
    """What somebody looks for. Each part may be left out; without a text everybody is found.

    `age_groups` are any of teen, adult and senior; ages are limits, both included. `sort` names an
    order: the best first, by name or age, or the newest first; `reverse` turns it round.
    `highlight` asks for what was found within each user, `facets` for counts of all that is found.
    Raises `Rejected` (`invalid_query`) for what cannot be asked.
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
            raise invalid("the least age is more than the greatest", "swap them")
        if unknown := set(self.age_groups) - set(AGE_GROUPS):
            raise invalid(f"there is no age group {min(unknown)}", f"give {', '.join(AGE_GROUPS)}")
        if self.sort not in SORTS:
            raise invalid(f"there is no order {self.sort}", f"give one of {', '.join(SORTS)}")
        if self.reverse and self.sort == "relevance":
            raise invalid("the worst first helps nobody", "give an order to turn round")

    @property
    def has_text(self) -> bool:
        """Whether there is a text to find."""
        return bool(self.text.strip())

    def digest(self) -> str:
        """Return what tells this search from others, however its result is shown."""
        asked = repr(astuple(self)[:6])
        return blake2b(asked.encode(), digest_size=6).hexdigest()

    def order(self) -> list[dict[str, str]]:
        """Return how to sort, up to the user's id, so that every result has its one place."""
        order = _ORDERS[self.sort]
        if not self.reverse:
            return order
        return [{field: _OTHER_WAY[way] for field, way in one.items()} for one in order]

    def body(self, slips: Slips) -> dict[str, Any]:
        """Return the request, but for its size, place and index."""
        query: dict[str, Any] = {"filter": self._filters()}
        if self.has_text:
            query["must"] = text_query(self.text, slips)
        body = {"query": {"bool": query}, "sort": self.order(), "track_total_hits": self.facets}
        return body | {"aggs": AGGREGATIONS} if self.facets else body

    def _filters(self) -> list[dict[str, Any]]:
        filters: list[dict[str, Any]] = []
        if (self.min_age, self.max_age) != (0, AGE_MAX_YEARS):
            filters.append({"range": {"age": {"gte": self.min_age, "lte": self.max_age}}})
        if self.age_groups:
            filters.append({"terms": {"age_group": list(self.age_groups)}})
        return filters
