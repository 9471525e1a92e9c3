"""Versions of the Elasticsearch read model: made, built apart, dropped, and of several shapes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from projectors.contract.read_model import BUILDING, READY, Advance, Batch, Dropped, Position
from projectors.elasticsearch.index.indexes import USERS, USERS_ALIAS, DocumentShape, users_index
from projectors.elasticsearch.index.versions import ElasticsearchVersions
from projectors.promises.events import user_event
from runtime.settings import Settings
from schemas.errors import Misconfigured, Rejected
from schemas.records import UserEvent
from tests.integration.projectors.elasticsearch.elasticsearch_versions import (
    at_once,
    begun,
    built,
    live,
)

FIRST = Position("topic-1", 10, 5)


@pytest.fixture
def versions(settings: Settings) -> Iterator[ElasticsearchVersions]:
    """The read model with its first version, removed with the test."""
    with begun(settings) as found:
        yield found


def test_many_may_begin_at_once(settings: Settings) -> None:
    """Projectors start at the same moment, none of them minds, and there is one version."""
    several = [ElasticsearchVersions(settings) for _ in range(4)]
    assert several[0].versions() == []
    with ThreadPoolExecutor(4) as together:
        list(together.map(lambda each: each.begin(), several))
    [version] = several[0].versions()
    assert (version.number, version.state, version.live) == (1, READY, True)
    assert version.live_since is not None
    for each in several:
        each.close()


def test_a_version_is_built_apart_and_made_for_queries_at_the_end(
    settings: Settings, versions: ElasticsearchVersions
) -> None:
    """Of several who create at once each gets a number of its own."""
    with ThreadPoolExecutor(3) as together:
        numbers = list(together.map(lambda _: versions.create(), range(3)))
    assert sorted(numbers) == [2, 3, 4]
    index = users_index(settings, 2)

    def refresh_interval() -> str:
        found = versions._client.indices.get_settings(index=index)[index]["settings"]["index"]
        return str(found["refresh_interval"])

    assert refresh_interval() == "-1"
    with pytest.raises(Rejected) as rejected:
        versions.swap(2, at_once)
    assert rejected.value.code == "version_not_ready"
    assert [version.state for version in versions.versions()] == [READY, *[BUILDING] * 3]
    for _ in range(2):
        versions.finish(2)
        versions.accept(2)
    assert refresh_interval() == "1s"
    found = {version.number: version for version in versions.versions()}
    assert (found[2].state, found[2].live, found[2].live_since) == (READY, False, None)


def test_a_version_that_was_dropped_takes_nothing_more(
    settings: Settings, versions: ElasticsearchVersions
) -> None:
    """Its projector is told; neither its index nor its number comes back, nor its checkpoint."""
    number = built(versions, user_event(1))
    with closing(versions.open(number)) as zombie:
        zombie.write(Batch([], {0: Advance(None, FIRST)}))
        for _ in range(2):
            versions.drop(number)
        with pytest.raises(Dropped):
            zombie.write(Batch([user_event(2)], {}))
        for use in (zombie.checkpoint, zombie.make_visible, lambda: list(zombie.rows())):
            with pytest.raises(Dropped):
                use()
    assert [version.number for version in versions.versions()] == [1]
    assert versions.create() == number + 1
    with closing(versions.open(number)) as late, pytest.raises(Dropped):
        late.write(Batch([], {0: Advance(None, FIRST)}))
    checkpoints = versions._client.indices.get_alias(name=f"{users_index(settings, number)}*")
    [index] = checkpoints.body
    versions._client.indices.refresh(index=index)
    assert versions._client.count(index=index)["count"] == 0


def test_the_live_version_is_not_dropped(versions: ElasticsearchVersions) -> None:
    """Nor does a drop care whether the version is there."""
    with pytest.raises(Rejected) as rejected:
        versions.drop(1)
    assert rejected.value.code == "version_is_live"
    versions.drop(99)
    assert live(versions) == [1]


def test_a_new_field_ships_as_a_new_version_beside_the_old(
    settings: Settings, versions: ElasticsearchVersions
) -> None:
    """The new rollbook writes both, each with the fields it has; the old one refuses the new."""

    def document(event: UserEvent) -> dict[str, Any]:
        return {**USERS.document(event), "letter": (event["user"] or {"name": ""})["name"][:1]}

    newer = DocumentShape({**USERS.fields, "letter": {"type": "keyword"}}, document)
    jane = user_event(1)
    with closing(ElasticsearchVersions(settings, newer)) as later:
        number = built(later, jane)
        with closing(later.open(1)) as old, closing(later.open(number)) as new:
            old.write(Batch([jane], {}))
            for model in (old, new):
                model.make_visible()
                [[row]] = model.rows()
                assert row == model.row_of(jane)
            assert old.row_of(jane) != new.row_of(jane)
        later.swap(number, at_once)
    found = versions._client.search(
        index=settings.named(USERS_ALIAS), query={"term": {"letter": "J"}}
    )
    assert [hit["_id"] for hit in found["hits"]["hits"]] == [jane["user_id"]]
    with pytest.raises(Misconfigured) as misconfigured:
        versions.open(number)
    assert misconfigured.value.code == "other_shape"
    assert "letter" in str(misconfigured.value)
