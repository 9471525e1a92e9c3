"""Versions of the Elasticsearch read model: created, built, dropped, and of several shapes."""

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
from tests.read_models import at_once, live_versions, ready_version

FIRST = Position("topic-1", 10, 5)


def test_concurrent_callers_of_begin_create_one_version(settings: Settings) -> None:
    """As when several projectors start at the same time."""
    several = [ElasticsearchVersions(settings) for _ in range(4)]
    assert several[0].versions() == []
    with ThreadPoolExecutor(4) as together:
        list(together.map(lambda each: each.begin(), several))
    [version] = several[0].versions()
    assert (version.number, version.state, version.live) == (1, READY, True)
    assert version.live_since is not None
    for each in several:
        each.close()


def test_a_version_gets_the_settings_for_queries_when_it_is_finished(
    settings: Settings, versions: ElasticsearchVersions
) -> None:
    """Concurrent callers of `create` get different numbers."""
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


def test_a_dropped_version_accepts_no_more_writes(
    settings: Settings, versions: ElasticsearchVersions
) -> None:
    """Its projector gets an error; index, number and checkpoint are never reused."""
    number = ready_version(versions, user_event(1))
    with closing(versions.open(number)) as stale:
        stale.write(Batch([], {0: Advance(None, FIRST)}))
        for _ in range(2):
            versions.drop(number)
        with pytest.raises(Dropped):
            stale.write(Batch([user_event(2)], {}))
        for use in (stale.checkpoint, stale.make_visible, lambda: list(stale.rows())):
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


def test_the_live_version_cannot_be_dropped(versions: ElasticsearchVersions) -> None:
    """Dropping a missing version does nothing."""
    with pytest.raises(Rejected) as rejected:
        versions.drop(1)
    assert rejected.value.code == "version_is_live"
    versions.drop(99)
    assert live_versions(versions) == [1]


def test_a_new_field_ships_as_a_new_version(
    settings: Settings, versions: ElasticsearchVersions
) -> None:
    """The new code writes both versions, each with its own fields; old code refuses the new one."""

    def document(event: UserEvent) -> dict[str, Any]:
        return {**USERS.document(event), "letter": (event["user"] or {"name": ""})["name"][:1]}

    newer = DocumentShape({**USERS.fields, "letter": {"type": "keyword"}}, document)
    jane = user_event(1)
    with closing(ElasticsearchVersions(settings, newer)) as later:
        number = ready_version(later, jane)
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
