"""An index of users as the projector fills it, for tests that only search."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from elasticsearch import Elasticsearch

from projectors.catalog import open_versions
from projectors.contract.read_model import Batch
from projectors.elasticsearch.client import connect
from projectors.elasticsearch.index.indexes import USERS_ALIAS
from projectors.promises.events import user_event
from runtime.settings import Settings, load_settings
from schemas.identity import email_key, email_shard, event_id, new_user_id
from schemas.records import USER_DELETED, UserEvent
from scripts.stack.native.local import LocalStack
from tests.integration.projectors.elasticsearch.search.search_page import Person

GONE = Person("Jane Roe", "jane.roe@example.com", 34, 1_767_600_000_000)


@dataclass(frozen=True)
class Index:
    """The index of a test, to be queried as other programs would query it."""

    settings: Settings
    client: Elasticsearch
    gone_id: str

    @property
    def alias(self) -> str:
        """The alias that users query."""
        return self.settings.named(USERS_ALIAS)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request and return the answer; adds the test's prefix to the alias."""
        path = path.replace(f"/{USERS_ALIAS}/", f"/{self.alias}/")
        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
            body = orjson.dumps(body)
        return self.client.perform_request(method, path, headers=headers, body=body).body

    def search(self, body: dict[str, Any]) -> Any:
        return self.ask("POST", f"/{USERS_ALIAS}/_search", body)

    def found_by(self, query: dict[str, Any]) -> set[str]:
        """Return the names of all users that `query` finds."""
        hits = self.search({"query": query, "size": 1000})["hits"]["hits"]
        return {hit["_source"]["name"] for hit in hits}


@contextmanager
def index_of(stack: LocalStack, directory: Path, people: Sequence[Person]) -> Iterator[Index]:
    """Fill an index with `people` and a deleted user; remove it afterwards."""
    flags = {"prefix": f"t{uuid.uuid4().hex[:10]}", "state_directory": str(directory)}
    settings = load_settings(flags, config=str(stack.config_file)).settings
    events = [_created(person, number) for number, person in enumerate([*people, GONE], 1)]
    gone = _deleted(events[-1])
    versions = open_versions(settings, "elasticsearch")
    versions.begin()
    (version,) = versions.versions()
    model = versions.open(version.number)
    model.write(Batch([*events, gone], {}))
    model.make_visible()
    client = connect(settings)
    try:
        yield Index(settings, client, gone["user_id"])
    finally:
        # By name, because the server refuses wildcards for deletion.
        created = client.indices.get(index=f"{settings.prefix}-*", expand_wildcards="all")
        client.indices.delete(index=list(created.body))
        for each in (client, model, versions):
            each.close()


def _created(person: Person, number: int) -> UserEvent:
    key = email_key(person.email)
    user_id = new_user_id(email_shard(key), person.created_at, number)
    state: dict[str, Any] = {
        "email": person.email,
        "email_key": key,
        "name": person.name,
        "age": person.age,
        "created_at": person.created_at,
    }
    own = {"event_id": event_id(user_id, 1), "user_id": user_id, "occurred_at": person.created_at}
    return {**user_event(number, **state), **own}  # type: ignore[typeddict-item]


def _deleted(before: UserEvent) -> UserEvent:
    version = before["version"] + 1
    return {**before, "version": version, "type": USER_DELETED, "user": None}
