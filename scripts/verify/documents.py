"""Reads the documents of an index, and checks what they derive from their own fields."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from elasticsearch import Elasticsearch

from projectors.elasticsearch.index.mapping import document

KEEP_ALIVE = "5m"
# All that the marker of a deleted or erased user may contain.
MARKER_FIELDS = {"user_id", "version", "updated_at", "gone"}
_PAGE = 5_000
# What an index derives from the name and the address.
_DERIVED = ("email_domain", "email_folded", "name_folded")


def is_derived(user_id: str, found: Mapping[str, Any], fields: Collection[str]) -> bool:
    """Return whether what a document derives from its other fields is right.

    `fields` are those of the index, which an older release may have created with fewer.
    """
    if found.get("user_id") != user_id:
        return False
    email, name, age = found.get("email"), found.get("name"), found.get("age")
    if email is None or name is None or age is None:
        return bool(found["gone"]) and set(found) <= MARKER_FIELDS
    user: Any = {"email": email, "name": name, "age": age, "created_at": found["created_at"]}
    event: Any = {"user_id": user_id, "version": 1, "occurred_at": 0, "user": user}
    wanted = document(event)
    right = [found.get(name) == wanted[name] for name in _DERIVED if name in fields]
    return all(right) and not found["gone"]


def documents(client: Elasticsearch, point: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the ids and documents of a point in time, and close it."""
    after = None
    while True:
        answer = client.search(
            pit={"id": point, "keep_alive": KEEP_ALIVE},
            size=_PAGE,
            sort=[{"_shard_doc": "asc"}],
            search_after=after,
            track_total_hits=False,
        )
        hits = answer["hits"]["hits"]
        point = answer["pit_id"]
        if not hits:
            break
        for hit in hits:
            yield hit["_id"], hit["_source"]
        after = hits[-1]["sort"]
    client.close_point_in_time(id=point)


def documents_of(client: Elasticsearch, index: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the ids and documents of an index, as of now."""
    client.indices.refresh(index=index)
    return documents(client, client.open_point_in_time(index=index, keep_alive=KEEP_ALIVE)["id"])
