"""An index of users as the projector fills it, for tests that only ask."""

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
from runtime.settings import Settings, load_settings
from schemas.identity import email_key, email_shard, event_id, new_user_id
from schemas.records import USER_CREATED, USER_DELETED, UserEvent
from scripts.stack.local import LocalStack
from tests.integration.projectors.elasticsearch.search_page import Person

GONE = Person("Jane Roe", "jane.roe@example.com", 34, 1_767_600_000_000)


@dataclass(frozen=True)
class Index:
    """The users of a test, to be asked as others than we would ask."""

    settings: Settings
    client: Elasticsearch
    gone_id: str

    @property
    def alias(self) -> str:
        """What people query."""
        return self.settings.named(USERS_ALIAS)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request and return its answer; the alias's name gets the test's prefix."""
        path = path.replace(f"/{USERS_ALIAS}/", f"/{self.alias}/")
        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
            body = orjson.dumps(body)
        return self.client.perform_request(method, path, headers=headers, body=body).body

    def search(self, body: dict[str, Any]) -> Any:
        """Search through the alias."""
        return self.ask("POST", f"/{USERS_ALIAS}/_search", body)

    def found_by(self, query: dict[str, Any]) -> set[str]:
        """Return the names of everybody whom `query` finds."""
        hits = self.search({"query": query, "size": 1000})["hits"]["hits"]
        return {hit["_source"]["name"] for hit in hits}


@contextmanager
def index_of(stack: LocalStack, directory: Path, people: Sequence[Person]) -> Iterator[Index]:
    """Fill an index with `people`, and with one more who was deleted; remove it afterwards."""
    flags = {"prefix": f"t{uuid.uuid4().hex[:10]}", "state_directory": str(directory)}
    settings = load_settings(flags, config=str(stack.config_file)).settings
    created = [_created(person, number) for number, person in enumerate([*people, GONE], 1)]
    gone = _deleted(created[-1])
    versions = open_versions(settings, "elasticsearch")
    versions.begin()
    (version,) = versions.versions()
    model = versions.open(version.number)
    model.write(Batch([*created, gone], {}))
    model.make_visible()
    client = connect(settings)
    try:
        yield Index(settings, client, gone["user_id"])
    finally:
        # By their names: the server takes no wildcard for this.
        made = client.indices.get(index=f"{settings.prefix}-*", expand_wildcards="all")
        client.indices.delete(index=list(made.body))
        for each in (client, model, versions):
            each.close()


def _created(person: Person, number: int) -> UserEvent:
    key = email_key(person.email)
    user_id = new_user_id(email_shard(key), person.created_at, number)
    return {
        "event_id": event_id(user_id, 1),
        "command_id": f"c-{number}",
        "seq": number,
        "user_id": user_id,
        "version": 1,
        "occurred_at": person.created_at,
        "type": USER_CREATED,
        "changes": [],
        "user": {
            "email": person.email,
            "email_key": key,
            "name": person.name,
            "age": person.age,
            "created_at": person.created_at,
            "created_by": f"c-{number}",
        },
    }


def _deleted(before: UserEvent) -> UserEvent:
    version = before["version"] + 1
    return {**before, "version": version, "type": USER_DELETED, "user": None}
