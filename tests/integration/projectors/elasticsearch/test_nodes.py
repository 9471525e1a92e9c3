"""Several nodes of Elasticsearch, and a login with an API key, through a proxy that demands it."""

from contextlib import closing
from dataclasses import replace

import pytest

from projectors.elasticsearch.client import connect, elasticsearch_available
from runtime.settings import Settings
from schemas.errors import Forbidden, Unavailable
from tests.integration.access.servers.refusing_proxy import refusing_proxy

DEAD = "http://127.0.0.1:1"
TIMES = 3


def exists(settings: Settings, *, is_query: bool = True, times: int = TIMES) -> list[bool]:
    """Ask often enough that every node is asked; return which requests were answered."""
    answered = []
    with closing(connect(settings, is_query=is_query)) as client:
        for _ in range(times):
            try:
                with elasticsearch_available(settings):
                    client.indices.exists(index="none")
            except Unavailable:
                answered.append(False)
            else:
                answered.append(True)
    return answered


def test_a_query_is_sent_to_the_next_node(empty: Settings) -> None:
    """A write is not: it may have been done. The projector repeats it, at another node."""
    several = replace(empty, elasticsearch_url=f"{DEAD},{empty.elasticsearch_url}")
    assert exists(several) == [True] * TIMES
    assert True in exists(several, is_query=False)


def test_an_api_key_is_sent_with_each_request(empty: Settings) -> None:
    with refusing_proxy(empty.elasticsearch_url) as proxy:
        proxy.authorization = "ApiKey a2V5"
        settings = replace(empty, elasticsearch_url=proxy.url)
        assert exists(replace(settings, elasticsearch_api_key="a2V5"), times=1) == [True]
        with pytest.raises(Forbidden, match="elasticsearch_api_key"):
            exists(replace(settings, elasticsearch_api_key="b3RoZXI="), times=1)
