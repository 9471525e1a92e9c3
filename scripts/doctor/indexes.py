"""Checks of Elasticsearch: its release, health and disks, our indexes, matching templates."""

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Final

from elasticsearch import Elasticsearch

from projectors.contract.read_model import READY
from projectors.elasticsearch.client import connect, elasticsearch_available
from projectors.elasticsearch.index.indexes import (
    CHECKPOINTS_INDEX,
    USERS,
    USERS_ALIAS,
    meta_of,
    number_of,
    own_fields,
    users_index,
    write_alias,
)
from projectors.elasticsearch.index.versions import ElasticsearchVersions
from scripts.doctor.finding import Examination, Finding, NotCheckable, ok, problem, warning

_MAJOR: Final = 9
_REBUILD: Final = "`rollbook projector rebuild elasticsearch`, then swap to the new version"
_EXCLUDE: Final = "exclude our names from its index_patterns (docs/production.md)"
_DEFAULT_MARKS: Final = {"low": 85.0, "high": 90.0, "flood_stage": 95.0}
_DISK: Final = "cluster.routing.allocation.disk.watermark"


class IndexFacts:
    """What Elasticsearch says, over one client."""

    def __init__(self, examination: Examination) -> None:
        self.settings = examination.settings
        self.client: Elasticsearch = connect(examination.settings, timeout_seconds=10)

    @cached_property
    def indexes(self) -> dict[str, Any]:
        """The indexes of versions and that of checkpoints, with everything that is set on them."""
        with elasticsearch_available(self.settings):
            found = self.client.indices.get(
                index=[f"{self.settings.named(USERS_ALIAS)}-*", self._checkpoints],
                expand_wildcards="all",
                ignore_unavailable=True,
            )
        ours = {self._checkpoints}
        return {
            name: facts
            for name, facts in found.items()
            if name in ours or number_of(self.settings, name)
        }

    @property
    def _checkpoints(self) -> str:
        return self.settings.named(CHECKPOINTS_INDEX)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


def release(facts: IndexFacts) -> Iterator[Finding]:
    """Look which release runs on each node."""
    with elasticsearch_available(facts.settings):
        nodes = facts.client.nodes.info(filter_path="nodes.*.version").get("nodes", {})
    return release_findings({str(node["version"]) for node in nodes.values()})


def release_findings(versions: set[str]) -> Iterator[Finding]:
    """Yield what to think of the releases of the nodes."""
    for version in sorted(versions):
        if int(version.partition(".")[0]) < _MAJOR:
            yield problem(
                f"Elasticsearch {version} is too old", f"upgrade to Elasticsearch {_MAJOR}"
            )
        else:
            yield ok(f"Elasticsearch {version} runs")


def health(facts: IndexFacts) -> Iterator[Finding]:
    """Look whether all shards of our indexes are allocated."""
    for name in facts.indexes:
        with elasticsearch_available(facts.settings):
            found = facts.client.cluster.health(index=name, timeout="1s")
        yield from health_findings(name, found["status"], found["unassigned_shards"])


def health_findings(name: str, status: str, unassigned: int) -> Iterator[Finding]:
    """Yield what to think of an index with this status."""
    remedy = "`GET _cluster/allocation/explain` says why; the setting elasticsearch_replicas must "
    remedy += "fit the number of nodes"
    if status == "red":
        yield problem(f"index {name} lacks a primary shard: it cannot be read", remedy)
    elif status == "yellow":
        yield warning(f"index {name} lacks {unassigned} copies", remedy)


def disk(facts: IndexFacts) -> Iterator[Finding]:
    """Compare the disks of the nodes with the watermarks at which Elasticsearch stops writing."""
    with elasticsearch_available(facts.settings):
        rows = facts.client.cat.allocation(format="json", bytes="b").body
        stored = facts.client.cluster.get_settings(include_defaults=True, flat_settings=True).body
    marks = watermarks(
        {**stored.get("defaults", {}), **stored["persistent"], **stored["transient"]}
    )
    for row in rows:
        if isinstance(row, dict) and (used := row.get("disk.percent")):
            yield disk_finding(str(row.get("node")), float(used), marks)


def watermarks(stored: Mapping[str, Any]) -> dict[str, float]:
    """Return the watermarks in percent; the default where they are set in bytes."""
    marks = dict(_DEFAULT_MARKS)
    for name in marks:
        text = str(stored.get(f"{_DISK}.{name}", ""))
        if found := re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", text):
            marks[name] = float(found[1]) * (1 if found[2] else 100)
    return marks


def disk_finding(node: str, used: float, marks: Mapping[str, float]) -> Finding:
    """Return what to think of a disk of which so many percent are used."""
    text = f"the disk of node {node} is {used:.0f} % full"
    remedy = "free space or add a node: at the last watermark indexes become read-only"
    if used >= marks["high"]:
        return problem(text, remedy)
    return warning(text, remedy) if used >= marks["low"] else ok(text)


def templates(facts: IndexFacts) -> Iterator[Finding]:
    """Look for index templates of the organisation that match our indexes."""
    with elasticsearch_available(facts.settings):
        found = facts.client.indices.get_index_template()["index_templates"]
    names = [users_index(facts.settings, 1), facts.settings.named(CHECKPOINTS_INDEX)]
    return template_findings({one["name"]: one["index_template"] for one in found}, names)


def template_findings(
    templates: Mapping[str, Mapping[str, Any]], names: list[str]
) -> Iterator[Finding]:
    """Yield the templates that match one of `names`."""
    for name, template in templates.items():
        patterns = template.get("index_patterns", ())
        if not any(fnmatchcase(index, pattern) for index in names for pattern in patterns):
            continue
        settings = template.get("template", {}).get("settings", {}).get("index", {})
        text = f"the index template {name} matches our indexes"
        if "data_stream" in template:
            yield problem(f"{text} and makes them data streams: none can be created", _EXCLUDE)
        elif "analysis" in settings:
            yield problem(f"{text} and changes analyzers: searches may miss users", _EXCLUDE)
        else:
            yield warning(f"{text}: its settings and fields are added to ours", _EXCLUDE)


def ours(facts: IndexFacts) -> Iterator[Finding]:
    """Look whether our indexes are as projectors and queries need them."""
    with closing(ElasticsearchVersions(facts.settings)) as versions:
        if not versions.versions():
            raise NotCheckable("no projector of elasticsearch has run yet")
    if facts.settings.named(CHECKPOINTS_INDEX) not in facts.indexes:
        yield problem(
            "the index of checkpoints is missing",
            "restart `rollbook projector run elasticsearch`: it creates it and replays the log",
        )
    for name, found in facts.indexes.items():
        yield from index_findings(
            name, found, is_version=number_of(facts.settings, name) is not None
        )


def index_findings(name: str, found: Mapping[str, Any], *, is_version: bool) -> Iterator[Finding]:
    """Yield what is wrong with an index, given what is set on it."""
    index, mapping = found["settings"]["index"], found["mappings"]
    held = any(alias.startswith(f"{name}-held-") for alias in found["aliases"])
    for block, is_set in index.get("blocks", {}).items():
        if str(is_set) == "true" and not held:
            yield problem(
                f"index {name} has the block {block}: it cannot be written",
                f"free disk space if that set it; then set index.blocks.{block} to null",
            )
    for option in ("default_pipeline", "final_pipeline"):
        if index.get(option, "_none") != "_none":
            yield problem(
                f"index {name} has {option}={index[option]}: it changes documents",
                f"set index.{option} to _none, then {_REBUILD}",
            )
    if mapping.get("dynamic") != "strict":
        yield warning(f"the mapping of index {name} is not strict", _REBUILD)
    if not is_version:
        return
    if write_alias(name) not in found["aliases"] and not held:
        yield problem(f"index {name} lacks the alias of its writers", _REBUILD)
    missing = sorted(set(USERS.fields) - set(own_fields(mapping)))
    if meta_of(found)["state"] == READY and missing:
        text = f"index {name} is of an earlier release and lacks {', '.join(missing)}"
        yield warning(text, _REBUILD)
