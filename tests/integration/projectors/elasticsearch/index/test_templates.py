"""An index template of the organisation that matches our indexes must not change the read model."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from projectors.contract.read_model import READY, Batch
from projectors.elasticsearch.client import connect
from projectors.elasticsearch.index.indexes import users_index
from projectors.elasticsearch.index.versions import ElasticsearchVersions
from projectors.promises.events import user_event
from runtime.settings import Settings
from schemas.errors import Misconfigured
from tests.observed.read_models import ready_version

FIELDS = {"department": {"type": "keyword"}, "cost_centre": {"type": "keyword"}}


@pytest.fixture
def template(store: Settings) -> Iterator[str]:
    """The name of a template, removed after the test."""
    name = f"{store.prefix}-template"
    yield name
    with closing(connect(store)) as client:
        client.indices.delete_index_template(name=name)


def test_fields_and_settings_of_a_template_are_tolerated(store: Settings, template: str) -> None:
    """They used to look like those of a newer rollbook."""
    with closing(connect(store)) as client, closing(ElasticsearchVersions(store)) as versions:
        client.indices.put_index_template(
            name=template,
            index_patterns=[f"{store.prefix}-*"],
            template={
                "settings": {"final_pipeline": "missing", "number_of_shards": 2},
                "mappings": {"_source": {"enabled": False}, "properties": FIELDS},
            },
        )
        versions.begin()
        number = ready_version(versions, user_event(1))
        index = users_index(store, number)
        with closing(versions.open(number)) as model:
            model.write(Batch([user_event(2)], {}))
            model.make_visible()
        mapping = client.indices.get(index=index)[index]["mappings"]["properties"]
        assert FIELDS.keys() <= mapping.keys()  # the template was applied
        found = client.search(index=index)["hits"]["hits"]
        assert len({hit["_source"]["email"] for hit in found}) == 2
        assert [version.state for version in versions.versions()] == [READY, READY]


def test_a_template_that_prevents_an_index_is_named(store: Settings, template: str) -> None:
    """One that turns every matching name into a data stream."""
    with closing(connect(store)) as client, closing(ElasticsearchVersions(store)) as versions:
        client.indices.put_index_template(
            name=template, index_patterns=[f"{store.prefix}-*"], data_stream={}
        )
        with pytest.raises(Misconfigured, match="data streams only") as refused:
            versions.begin()
    assert "index template" in refused.value.next_step
