"""Everything that a login can try at Elasticsearch.

What is permitted must do no harm: documents have an id that no user has, and an index is deleted
only if nobody may.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from runtime.settings import Settings
from tests.integration.access.roles.web import Answer, Attempts, WebLogin

_REFUSED: Final = {401, 403}
_SECURITY: Final = "security_exception"
_ID: Final = "nobody"
# Method, path and body; the path begins after the name of the index.
_ON_INDEX: Final[dict[str, tuple[str, str, object]]] = {
    "search": ("POST", "_search", {"size": 1}),
    "get": ("GET", f"_doc/{_ID}", None),
    "explain": ("GET", f"_explain/{_ID}", {"query": {"match_all": {}}}),
    "point-in-time": ("POST", "_pit?keep_alive=1s", None),
    "read-mapping": ("GET", "_mapping", None),
    "read-settings": ("GET", "_settings", None),
    "refresh": ("POST", "_refresh", None),
    "index": ("PUT", f"_doc/{_ID}?op_type=create", {}),
    "update": ("POST", f"_update/{_ID}", {"doc": {}}),
    "delete-document": ("DELETE", f"_doc/{_ID}", None),
    "bulk": ("POST", "_bulk", [{"delete": {"_id": _ID}}]),
    "change-mapping": ("PUT", "_mapping", {"properties": {}}),
    "change-settings": ("PUT", "_settings", {"index": {"refresh_interval": "1s"}}),
    "block": ("PUT", "_block/metadata", None),
    "close": ("POST", "_close", None),
    "delete": ("DELETE", "", None),
}
# What destroys or stops an index is tried only by those who must not be able to.
DESTRUCTIVE: Final = frozenset({"block", "close", "delete"})
_SETTING: Final = {"cluster.max_shards_per_node": None}
_ON_CLUSTER: Final[dict[str, tuple[str, str, object]]] = {
    "cluster-health": ("GET", "/_cluster/health", None),
    "read-cluster-settings": ("GET", "/_cluster/settings", None),
    "change-cluster-settings": ("PUT", "/_cluster/settings", {"persistent": _SETTING}),
    "list-nodes": ("GET", "/_nodes", None),
    "list-tasks": ("GET", "/_tasks", None),
    "create-template": ("PUT", "/_index_template/more", {"index_patterns": ["more-*"]}),
    "create-component": ("PUT", "/_component_template/more", {"template": {}}),
    "create-pipeline": ("PUT", "/_ingest/pipeline/more", {"processors": []}),
    "create-repository": ("PUT", "/_snapshot/more", {"type": "fs", "settings": {"location": "x"}}),
    "store-a-script": ("PUT", "/_scripts/more", {"script": {"lang": "mustache", "source": "x"}}),
    "clear-the-cache-of-logins": ("POST", "/_security/realm/_all/_clear_cache", None),
    "reroute": ("POST", "/_cluster/reroute", {}),
    "create-foreign-index": ("PUT", "/more", None),
}


def attempts(
    settings: Settings,
    login: tuple[str, str] | None,
    indexes: Mapping[str, str],
    *,
    harmless: Iterable[str] = (),
) -> Attempts:
    """Return attempt → whether it was permitted, of a login or of nobody.

    `indexes` are label → name. On those whose label is `harmless`, nothing destructive is tried.
    """
    harmless = set(harmless)
    found: Attempts = {}
    with WebLogin(settings.elasticsearch_url, settings.elasticsearch_ca_location, login) as web:
        for label, name in indexes.items():
            for what, (method, path, body) in _ON_INDEX.items():
                if label not in harmless or what not in DESTRUCTIVE:
                    answer = web.ask(method, f"/{name}/{path}".rstrip("/"), body)
                    found[what, label] = _is_permitted(answer)
            # An index that only the body names.
            for what, (path, request) in {
                "bulk-by-body": ("/_bulk", [{"delete": {"_index": name, "_id": _ID}}]),
                "mget-by-body": ("/_mget", {"docs": [{"_index": name, "_id": _ID}]}),
                "msearch-by-body": ("/_msearch", [{"index": name}, {"size": 1}]),
                "alias": ("/_aliases", _alias(name, f"{name}-more")),
            }.items():
                found[what, label] = _is_permitted(web.ask("POST", path, request))
                if what == "alias" and found[what, label]:
                    web.ask("DELETE", f"/{name}/_alias/{name}-more")
        for what, (method, path, body) in _ON_CLUSTER.items():
            found[what, "cluster"] = _is_permitted(web.ask(method, path, body))
        for version in ("rollbook-users-99", "rollbook-checkpoints-99"):
            created = web.ask("PUT", f"/{settings.named(version)}")
            found[f"create-{version}", "cluster"] = _is_permitted(created)
            if created.status == 200:
                deleted = web.ask("DELETE", f"/{settings.named(version)}")
                found[f"delete-{version}", "cluster"] = _is_permitted(deleted)
    return found


def indexes_in_wildcards(settings: Settings, login: tuple[str, str]) -> set[str]:
    """Return the indexes that a login finds when it asks for all of them in several ways."""
    found: set[str] = set()
    with WebLogin(settings.elasticsearch_url, settings.elasticsearch_ca_location, login) as web:
        for path in ("/_search", "/*/_search", "/_all/_search", "/*,-none/_search"):
            answer = web.ask("POST", path, {"size": 10_000, "_source": False})
            hits = answer.body.get("hits", {}).get("hits", []) if answer.body else []
            found |= {hit["_index"] for hit in hits}
        for path in ("/_mapping", "/*/_settings", "/_alias"):
            answer = web.ask("GET", path)
            found |= set(answer.body) - {"error", "status"} if answer.body else set()
        listed = web.ask("GET", "/_cat/indices?format=json")
        found |= {one["index"] for one in listed.body} if listed.status == 200 else set()
    return found


def _alias(index: str, alias: str) -> dict[str, Any]:
    return {"actions": [{"add": {"index": index, "alias": alias}}]}


def _is_permitted(answer: Answer) -> bool:
    """Return whether neither the request nor a part of it was refused."""
    if answer.status in _REFUSED:
        return False
    assert answer.status < 500, answer
    return _SECURITY not in str(answer.body)
