"""The client of the schema registry, against a real one."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial

import pytest

from projectors.elasticsearch.client import connect
from runtime.kafka.registry import COMPATIBILITY, Registry
from runtime.settings import Settings
from schemas.coding.codec import schema_text
from schemas.errors import Misconfigured, Poisoned
from schemas.topics import EVENTS


def schema(name: str, field_type: str) -> str:
    """Return a schema with one field of this type."""
    fields = [{"name": "x", "type": field_type}]
    return json.dumps({"type": "record", "name": name, "fields": fields})


def test_schemas_keep_their_ids_and_are_found_by_them(store: Settings) -> None:
    """Also if several processes register them at the same time."""
    with ThreadPoolExecutor(4) as together:
        [ids, *others] = together.map(lambda _: Registry(store).ensure(), range(4))
    assert [ids] * 3 == others
    for name, schema_id in ids.items():
        assert json.loads(Registry(store).schema_by_id(schema_id)) == json.loads(schema_text(name))
    with pytest.raises(Poisoned):
        Registry(store).schema_by_id(2**31 - 1)


def test_proxies_of_the_environment_are_not_used(
    store: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are for the internet. A file of certificates matters to https alone."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setenv("SSL_CERT_FILE", "/missing")
    assert Registry(store).ensure()
    with closing(connect(store)) as client:
        assert client.indices.get(index="rollbook-none*").body == {}


def test_an_incompatible_schema_is_refused(store: Settings) -> None:
    """The subject's compatibility is checked against every registered version."""
    registry, name = Registry(store), f"T{uuid.uuid4().hex}"
    subject, _ = registry._register(schema(name, "string"))
    registry._request("PUT", f"config/{subject}", subject, {"compatibility": COMPATIBILITY})
    with pytest.raises(Misconfigured) as refused:
        registry._register(schema(name, "int"))
    assert refused.value.code == "incompatible_schema"


def test_a_schema_that_nobody_registered_is_missing_and_stays_so(store: Settings) -> None:
    """Only `ensure` registers: a look-up of the same text then finds the same id."""
    registry, text = Registry(store), schema(f"T{uuid.uuid4().hex}", "string")
    for _ in range(2):
        with pytest.raises(Misconfigured, match="lacks a schema of this release") as missing:
            registry._registered_id(text)
        assert missing.value.code == "missing_schema"
        assert "rollbook topics ensure" in missing.value.next_step
    _, schema_id = registry._register(text)
    assert registry._registered_id(text) == schema_id


def test_the_next_node_is_asked_if_one_does_not_answer(store: Settings) -> None:
    """And that one first from then on."""
    registry = Registry(replace(store, registry_url=f"http://127.0.0.1:1/x,{store.registry_url}"))
    assert registry.ensure()
    assert registry._urls[0] == store.registry_url


def test_a_wrong_url_is_a_bad_setting(store: Settings) -> None:
    """The message names the setting; a user and a password in the URL are allowed."""
    url = store.registry_url.replace("http://", "http://jane:secret@")
    assert Registry(replace(store, registry_url=url)).ensure()
    wrong = Registry(replace(store, registry_url=f"{store.registry_url}/x"))
    for request in (wrong.ensure, partial(wrong.codec, EVENTS.schema)):
        with pytest.raises(Misconfigured, match="no schema registry answers") as refused:
            request()
        assert "registry_url" in refused.value.next_step
