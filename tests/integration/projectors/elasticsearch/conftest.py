"""The read model in Elasticsearch, empty or with people to search for."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from projectors.elasticsearch.index.versions import ElasticsearchVersions
from runtime.settings import Settings
from scripts.stack.native.local import LocalStack
from tests.integration.projectors.elasticsearch.search.search_index import Index, index_of
from tests.integration.projectors.elasticsearch.search.searched import PEOPLE


@pytest.fixture
def versions(settings: Settings) -> Iterator[ElasticsearchVersions]:
    """The versions of the read model; the first one exists. Removed after the test."""
    with closing(ElasticsearchVersions(settings)) as versions:
        versions.begin()
        yield versions


@pytest.fixture(scope="module")
def index(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """An index of `PEOPLE`, and of Jane Roe, who was deleted."""
    with index_of(stack, tmp_path_factory.mktemp("search"), PEOPLE) as filled:
        yield filled
