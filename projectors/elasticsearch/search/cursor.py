"""Where a search goes on: a moment of the index, kept for minutes, and the last user shown of it.

Of one moment, so that a user who changes meanwhile is neither shown twice nor left out.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

import orjson

from projectors.elasticsearch.search.request import Search
from projectors.elasticsearch.search.text import Slips
from schemas.errors import Rejected

# A moment keeps files of the index from being deleted: long enough to read a page, no longer.
KEPT_MINUTES: Final = 5
KEEP_ALIVE: Final = f"{KEPT_MINUTES}m"


@dataclass(frozen=True, slots=True)
class Place:
    """A moment of the index (None: now), what is forgiven, and after which values to go on."""

    moment: str | None = None
    slips: Slips = Slips.NONE
    after: list[Any] | None = None


def write_cursor(place: Place, search: Search) -> str:
    """Return `place` of `search` as opaque text."""
    rest = orjson.dumps([int(place.slips), place.after, search.digest()])
    content = f"{place.moment}.{urlsafe_b64encode(rest).decode()}"
    return f"{content}.{_checksum(content)}"


def read_cursor(text: str, search: Search) -> Place:
    """Return the place that a cursor of `search` stands for.

    Raises `Rejected` (`invalid_cursor`) for what is no cursor, or one of another search.
    """
    content, _, checksum = text.rpartition(".")
    # Elasticsearch itself fails over a moment that was copied in part.
    if not text.isascii() or checksum != _checksum(content):
        raise not_ours()
    moment, _, rest = content.rpartition(".")
    try:
        slips, after, digest = orjson.loads(urlsafe_b64decode(rest))
        place = Place(moment, Slips(slips), list(after))
    except (ValueError, TypeError):
        raise not_ours() from None
    if digest != search.digest():
        raise _invalid("the cursor belongs to another search")
    return place


def _checksum(content: str) -> str:
    return f"{crc32(content.encode()):08x}"


def not_ours() -> Rejected:
    """Return the refusal of text that is no cursor."""
    return _invalid("the cursor is none of ours")


def expired() -> Rejected:
    """Return the refusal of a cursor whose moment is no longer kept."""
    return Rejected(
        f"the cursor has expired: it was not used for {KEPT_MINUTES} minutes, or its index is gone",
        code="cursor_expired",
        next_step="search again without it",
    )


def _invalid(message: str) -> Rejected:
    return Rejected(
        message,
        code="invalid_cursor",
        next_step="take it from the page before, with the same text, limits and order",
    )
