"""Removes from Elasticsearch's files what was deleted from the index of one version.

A replaced document stays in its segment until a merge, and in the translog until a flush. A merge
of all segments with deleted documents removes them, once the shard's retention lease has passed
them, which takes half a minute.
"""

import time
from typing import Final

import orjson
from elasticsearch import Elasticsearch

from projectors.elasticsearch.client import NDJSON_HEADERS, elasticsearch_available
from projectors.elasticsearch.index.indexes import EXPUNGES_ALL
from runtime.settings import Settings

_MERGE_SECONDS: Final = 1800.0
_PAGE: Final = 1_000


class IndexLeftovers:
    """Remembers how many users were gone from each index when it was last cleaned."""

    def __init__(self, settings: Settings, client: Elasticsearch) -> None:
        self._settings = settings
        self._client = client
        self._gone: dict[str, int] = {}

    def remove(self, index: str, settled_seconds: float) -> bool:
        """Merge away the deleted documents, if users were deleted; raises `Unavailable`."""
        settled_before = int((time.time() - settled_seconds) * 1000)
        gone = [{"term": {"gone": True}}, {"range": {"updated_at": {"lte": settled_before}}}]
        with elasticsearch_available(self._settings):
            count = self._client.count(index=index, query={"bool": {"filter": gone}})["count"]
            if count in {0, self._gone.get(index)}:
                return False
            self._expunge_all(index)
            slow = self._client.options(request_timeout=_MERGE_SECONDS)
            slow.indices.flush(index=index, force=True)
            slow.indices.forcemerge(index=index, only_expunge_deletes=True)
            # The translog before it, and the files of the segments that were merged.
            slow.indices.flush(index=index, force=True)
        self._gone[index] = count
        return True

    def _expunge_all(self, index: str) -> None:
        """Set what an index of an earlier release lacks; a projector may have no right to do it."""
        [name] = EXPUNGES_ALL
        found = self._client.indices.get_settings(index=index, name=name, flat_settings=True)
        if not found.get(index, {}).get("settings"):
            self._client.indices.put_settings(index=index, settings=EXPUNGES_ALL)

    def erase_gone_users(self, index: str, live: str) -> int:
        """Delete the documents of users who are gone from `live`; return how many there were.

        The newer release that writes `index` will store their markers when it runs again.
        """
        erased, after = 0, None
        with elasticsearch_available(self._settings):
            while True:
                answer = self._client.search(
                    index=live,
                    query={"term": {"gone": True}},
                    sort=["user_id"],
                    search_after=after,
                    size=_PAGE,
                    source=False,
                )
                hits = answer["hits"]["hits"]
                if not hits:
                    return erased
                after = hits[-1]["sort"]
                erased += self._delete(index, [hit["_id"] for hit in hits])

    def _delete(self, index: str, ids: list[str]) -> int:
        found = self._client.mget(index=index, ids=ids, source_includes=["gone"])["docs"]
        held = [one for one in found if one.get("found") and not one["_source"].get("gone")]
        # A writer of `index` that stores a newer version meanwhile makes this one a conflict.
        lines = [
            {
                "delete": {
                    "_id": one["_id"],
                    "version": one["_version"],
                    "version_type": "external_gte",
                }
            }
            for one in held
        ]
        if lines:
            body = b"".join(orjson.dumps(line) + b"\n" for line in lines)
            path = f"/{index}/_bulk"
            self._client.perform_request("POST", path, headers=NDJSON_HEADERS, body=body)
        return len(held)
