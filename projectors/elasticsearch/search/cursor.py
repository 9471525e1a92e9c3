"""Where a search continues: a point in time of the index, and the last user returned from it.

All pages read the same point in time, so a user who changes meanwhile is returned exactly once.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

import orjson

from projectors.elasticsearch.search.request import Search
from projectors.elasticsearch.search.text import Typos
from schemas.errors import Rejected

# A point in time keeps deleted files of the index on disk: keep it only as long as a person needs
# for a page.
KEPT_MINUTES: Final = 5
KEEP_ALIVE: Final = f"{KEPT_MINUTES}m"


@dataclass(frozen=True, slots=True)
class Place:
    """A point in time (None for now), a tolerance for typos, the sort values of the last user."""

    point_in_time: str | None = None
    typos: Typos = Typos.NONE
    after: list[Any] | None = None


def write_cursor(place: Place, search: Search) -> str:
    """Return `place` in the results of `search` as opaque text."""
    rest = orjson.dumps([int(place.typos), place.after, search.digest()])
    content = f"{place.point_in_time}.{urlsafe_b64encode(rest).decode()}"
    return f"{content}.{_checksum(content)}"


def read_cursor(text: str, search: Search) -> Place:
    """Return the place that a cursor of `search` encodes.

    Raises `Rejected` (`invalid_cursor`) if the text is not a cursor, or one of another search.
    """
    content, _, checksum = text.rpartition(".")
    # Elasticsearch answers a truncated point in time with a server error.
    if not text.isascii() or checksum != _checksum(content):
        raise invalid_cursor()
    point_in_time, _, rest = content.rpartition(".")
    try:
        typos, after, digest = orjson.loads(urlsafe_b64decode(rest))
        place = Place(point_in_time, Typos(typos), list(after))
    except (ValueError, TypeError):
        raise invalid_cursor() from None
    if digest != search.digest():
        raise invalid_cursor("the cursor belongs to another search")
    return place


def _checksum(content: str) -> str:
    return f"{crc32(content.encode()):08x}"


def invalid_cursor(message: str = "invalid cursor") -> Rejected:
    """Return the error for a cursor that cannot be used."""
    return Rejected(
        message,
        code="invalid_cursor",
        next_step="copy it from the previous page, with the same text, limits and order",
    )


def expired() -> Rejected:
    """Return the error for a cursor whose point in time is no longer kept."""
    return Rejected(
        f"the cursor expired: it was unused for {KEPT_MINUTES} minutes, or its index was deleted",
        code="cursor_expired",
        next_step="search again without a cursor",
    )
