import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from projectors.elasticsearch.indexes import USERS_ALIAS, USERS_INDEX
from projectors.elasticsearch.queries import search_users
from projectors.elasticsearch.writer import ElasticsearchUsers
from projectors.read_model import Advance, Batch, Position, ReadModel
from runtime.settings import Settings
from schemas.errors import Fenced, Poisoned, Unavailable
from schemas.identity import email_key, email_shard, new_user_id
from schemas.records import USER_CREATED, USER_DELETED, USER_UPDATED, UserEvent

FIRST = Position("topic-1", 10, 5)
SECOND = Position("topic-1", 20, 9)


def event(name: str, email: str, version: int = 1, age: int = 34) -> UserEvent:
    user_id = new_user_id(email_shard(email_key(email)), 1_700_000_000_000, 1)
    return {
        "event_id": f"{user_id}:{version}",
        "command_id": "c",
        "seq": version,
        "user_id": user_id,
        "version": version,
        "occurred_at": 1_700_000_000_000 + version,
        "type": USER_CREATED if version == 1 else USER_UPDATED,
        "changes": [],
        "user": {
            "email": email,
            "email_key": email_key(email),
            "name": name,
            "age": age,
            "created_at": 1_700_000_000_000,
            "created_by": "c",
        },
    }


def gone(event_before: UserEvent) -> UserEvent:
    version = event_before["version"] + 1
    return {**event_before, "version": version, "type": USER_DELETED, "user": None}


def step(*events: UserEvent) -> Batch:
    return Batch(events, {})


@pytest.fixture
def model(settings: Settings) -> Iterator[ElasticsearchUsers]:
    found = ElasticsearchUsers(settings)
    found.prepare()
    yield found
    found.reset()
    found.close()


def raw(model: ElasticsearchUsers, user_id: str) -> Mapping[str, Any]:
    """Return the stored document as a writer sees it: at once, and markers too."""
    index = model._settings.named(USERS_INDEX)
    source: Mapping[str, Any] = model._client.get(index=index, id=user_id)["_source"]
    return source


def search(settings: Settings, model: ElasticsearchUsers, text: str) -> list[str]:
    """Return the names that a search finds once everything written is visible."""
    model._client.indices.refresh(index=settings.named(USERS_ALIAS))
    return [user["name"] for user in search_users(settings, text)]


def test_it_is_a_read_model_that_several_processes_may_prepare(settings: Settings) -> None:
    """Projectors start at the same moment and none of them minds."""
    models: list[ReadModel] = [ElasticsearchUsers(settings) for _ in range(4)]
    with ThreadPoolExecutor(4) as together:
        list(together.map(lambda each: each.prepare(), models))
    assert models[0].checkpoint() == {}
    models[0].reset()
    for each in models:
        each.close()


def test_people_are_found_despite_typos_accents_and_half_words(
    settings: Settings, model: ElasticsearchUsers
) -> None:
    """All words must match, in the name or the address; other scripts are found as well."""
    model.write(
        step(
            event("José Muñoz", "pepe@example.com"),
            event("Łukasz Żółć", "lz@example.com"),
            event("佐藤 太郎", "taro@example.com"),
            event("Иван Фёдоров", "ivan@example.com"),
            event("Jane Smith", "jane.doe@example.org"),
        )
    )
    for text, name in [
        ("jose munoz", "José Muñoz"),
        ("JOSÉ", "José Muñoz"),
        ("muñ", "José Muñoz"),
        ("lukasz zolc", "Łukasz Żółć"),
        ("lukazs", "Łukasz Żółć"),
        ("佐藤", "佐藤 太郎"),
        ("федоров", "Иван Фёдоров"),
        ("smith doe", "Jane Smith"),
        ("jane.doe@example.org", "Jane Smith"),
        ("smiht jnae", "Jane Smith"),
    ]:
        assert search(settings, model, text)[:1] == [name], text
    assert search(settings, model, "jane munoz") == []
    assert search(settings, model, "nobody") == []


def test_the_best_comes_first(settings: Settings, model: ElasticsearchUsers) -> None:
    """The whole address, then words as typed, then beginnings, then typos."""
    model.write(
        step(
            event("Jana Roe", "jana@example.com"),
            event("Jane Roe", "jr@example.com"),
            event("Janet Poe", "jp@example.com"),
        )
    )
    assert search(settings, model, "jane") == ["Jane Roe", "Janet Poe", "Jana Roe"]
    assert search(settings, model, "JANA@example.com")[0] == "Jana Roe"


def test_an_older_event_changes_nothing(settings: Settings, model: ElasticsearchUsers) -> None:
    """Replays and zombies are harmless, whatever the order."""
    model.write(step(event("New Name", "jane@example.com", version=3)))
    model.write(step(event("Old Name", "jane@example.com", version=2)))
    model.write(step(event("Other Name", "jane@example.com", version=3)))
    assert search(settings, model, "jane") == ["New Name"]


def test_a_user_who_is_gone_is_a_marker_nobody_finds(
    settings: Settings, model: ElasticsearchUsers
) -> None:
    """No personal data stays, and a late event does not bring the user back."""
    jane = event("Jane Doe", "jane@example.com")
    model.write(step(jane))
    model.write(step(gone(jane)))
    model.write(step(jane))
    assert search(settings, model, "jane") == []
    assert raw(model, jane["user_id"]).keys() == {"user_id", "version", "updated_at", "gone"}


def test_the_checkpoint_moves_only_from_where_it_is(
    settings: Settings, model: ElasticsearchUsers
) -> None:
    """A zombie that comes back is fenced, and what it writes is old."""
    zombie = ElasticsearchUsers(settings)
    zombie.prepare()
    model.write(Batch([], {0: Advance(None, FIRST), 3: Advance(None, FIRST)}))
    assert zombie.checkpoint() == {0: FIRST, 3: FIRST}
    model.write(Batch([], {0: Advance(FIRST, SECOND)}))
    with pytest.raises(Fenced):
        zombie.write(Batch([], {0: Advance(FIRST, replace(SECOND, next_offset=15))}))
    with pytest.raises(Fenced):
        model.write(Batch([], {0: Advance(None, FIRST)}))
    assert zombie.checkpoint() == model.checkpoint() == {0: SECOND, 3: FIRST}
    zombie.close()


def test_reset_removes_everything_and_fences_who_still_writes(
    settings: Settings, model: ElasticsearchUsers
) -> None:
    """A writer that goes on does not make an index without a mapping."""
    running = ElasticsearchUsers(settings)
    running.prepare()
    running.write(Batch([event("Jane", "jane@example.com")], {0: Advance(None, FIRST)}))
    model.reset()
    with pytest.raises(Fenced):
        running.write(Batch([event("Joe", "joe@example.com")], {0: Advance(FIRST, SECOND)}))
    assert model.checkpoint() == {}
    with pytest.raises(Unavailable):
        search_users(settings, "jane")
    model.prepare()
    assert search(settings, model, "jane") == []
    running.close()


def test_a_checkpoint_of_an_index_that_was_deleted_counts_for_nothing(
    settings: Settings, model: ElasticsearchUsers
) -> None:
    """Somebody deletes the index by hand: the log is replayed, nothing is missing."""
    model.write(Batch([], {0: Advance(None, FIRST)}))
    model._client.indices.delete(index=settings.named(USERS_INDEX))
    model.prepare()
    assert model.checkpoint() == {}
    model.write(Batch([], {0: Advance(None, SECOND)}))
    assert model.checkpoint() == {0: SECOND}


def test_a_document_that_is_refused_is_named_by_its_user_only(
    model: ElasticsearchUsers,
) -> None:
    """The rest lands, the checkpoint stays, and no personal data is in the message."""
    bad, good = event("Bad Secret", "secret@example.com"), event("Good", "good@example.com")
    assert bad["user"] is not None
    bad["user"]["age"] = 2**40
    with pytest.raises(Poisoned) as poisoned:
        model.write(Batch([bad, good], {0: Advance(None, FIRST)}))
    assert bad["user_id"] in str(poisoned.value)
    assert "ecret" not in str(poisoned.value)
    assert raw(model, good["user_id"])["name"] == "Good"
    assert model.checkpoint() == {}


def test_a_server_that_is_away_is_said_at_once(settings: Settings) -> None:
    """Nothing is lost: the runner tries again."""
    away = replace(settings, elasticsearch_url="http://127.0.0.1:1")
    started = time.monotonic()
    with pytest.raises(Unavailable) as unavailable:
        search_users(away, "jane")
    assert unavailable.value.code == "elasticsearch_unavailable"
    with pytest.raises(Unavailable):
        ElasticsearchUsers(away).write(step(event("Jane", "jane@example.com")))
    assert time.monotonic() - started < 5
