"""Versions in Elasticsearch, beyond what every read model promises."""

from contextlib import closing
from typing import Any

import pytest

from projectors.contract.read_model import Advance, Batch, Dropped, Position
from projectors.elasticsearch.index.indexes import USERS, USERS_ALIAS, DocumentShape, users_index
from projectors.elasticsearch.index.versions import ElasticsearchVersions
from projectors.promises.events import user_event
from runtime.settings import Settings
from schemas.errors import Misconfigured
from schemas.records import UserEvent
from tests.observed.read_models import at_once, ready_version

FIRST = Position("topic-1", 10, 5)


def test_a_version_gets_the_settings_for_queries_when_it_is_finished(
    settings: Settings, versions: ElasticsearchVersions
) -> None:
    """Until then it is not refreshed, which makes filling it faster."""
    assert versions.create() == 2
    index = users_index(settings, 2)

    def refresh_interval() -> str:
        found = versions._client.indices.get_settings(index=index)[index]["settings"]["index"]
        return str(found["refresh_interval"])

    assert refresh_interval() == "-1"
    versions.finish(2)
    assert refresh_interval() == "1s"


def test_a_dropped_version_leaves_no_checkpoint(
    settings: Settings, versions: ElasticsearchVersions
) -> None:
    """Nor does a projector that opens it afterwards create one."""
    number = ready_version(versions, user_event(1))
    with closing(versions.open(number)) as stale:
        stale.write(Batch([], {0: Advance(None, FIRST)}))
        versions.drop(number)
        with pytest.raises(Dropped):
            stale.make_visible()
    with closing(versions.open(number)) as late, pytest.raises(Dropped):
        late.write(Batch([], {0: Advance(None, FIRST)}))
    checkpoints = versions._client.indices.get_alias(name=f"{users_index(settings, number)}*")
    [index] = checkpoints.body
    versions._client.indices.refresh(index=index)
    assert versions._client.count(index=index)["count"] == 0


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
