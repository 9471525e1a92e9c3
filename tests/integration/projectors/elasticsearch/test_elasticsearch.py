import copy
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from projectors.contract.read_model import Advance, Batch, Dropped, Position
from projectors.elasticsearch.index.indexes import CHECKPOINTS_INDEX, USERS_ALIAS, users_index
from projectors.elasticsearch.index.versions import ElasticsearchVersions
from projectors.elasticsearch.index.writer import ElasticsearchUsers
from projectors.elasticsearch.search.queries import search_users
from projectors.promises.events import user_event
from runtime.settings import Settings
from schemas.errors import Fenced, Poisoned, Unavailable
from schemas.identity import email_key, email_shard, new_user_id
from schemas.records import USER_CREATED, USER_DELETED, USER_UPDATED, UserEvent
from tests.integration.projectors.elasticsearch.elasticsearch_versions import begun

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
def versions(settings: Settings) -> Iterator[ElasticsearchVersions]:
    """The read model with its first version, removed with the test."""
    with begun(settings) as found:
        yield found


@pytest.fixture
def model(versions: ElasticsearchVersions) -> Iterator[ElasticsearchUsers]:
    """The version that is live."""
    found = versions.open(1)
    yield found
    found.close()


def raw(model: ElasticsearchUsers, user_id: str) -> Mapping[str, Any]:
    """Return the stored document as a writer sees it: at once, and markers too."""
    index = users_index(model._settings, model.version)
    source: Mapping[str, Any] = model._client.get(index=index, id=user_id)["_source"]
    return source


def search(settings: Settings, model: ElasticsearchUsers, text: str) -> list[str]:
    """Return the names that a search finds once everything written is visible."""
    model._client.indices.refresh(index=settings.named(USERS_ALIAS))
    return [user["name"] for user in search_users(settings, text)]


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
    versions: ElasticsearchVersions, model: ElasticsearchUsers
) -> None:
    """A zombie that comes back is fenced, and what it writes is old."""
    zombie = versions.open(1)
    model.write(Batch([], {0: Advance(None, FIRST), 3: Advance(None, FIRST)}))
    assert zombie.checkpoint() == {0: FIRST, 3: FIRST}
    model.write(Batch([], {0: Advance(FIRST, SECOND)}))
    with pytest.raises(Fenced):
        zombie.write(Batch([], {0: Advance(FIRST, replace(SECOND, next_offset=15))}))
    with pytest.raises(Fenced):
        model.write(Batch([], {0: Advance(None, FIRST)}))
    assert zombie.checkpoint() == model.checkpoint() == {0: SECOND, 3: FIRST}
    zombie.close()


def test_a_checkpoint_of_an_index_that_was_deleted_counts_for_nothing(
    settings: Settings, versions: ElasticsearchVersions, model: ElasticsearchUsers
) -> None:
    """Somebody deletes the index by hand: the log is replayed, nothing is missing."""
    model.write(Batch([], {0: Advance(None, FIRST)}))
    model._client.indices.delete(index=users_index(settings, 1))
    with pytest.raises(Dropped):
        model.checkpoint()
    with pytest.raises(Unavailable):
        search_users(settings, "jane")
    versions.begin()
    with pytest.raises(Dropped):
        model.checkpoint()
    with closing(versions.open(1)) as anew:
        assert anew.checkpoint() == {}
        anew.write(Batch([], {0: Advance(None, SECOND)}))
        assert anew.checkpoint() == {0: SECOND}


def test_checkpoints_that_were_removed_are_begun_anew(
    settings: Settings, versions: ElasticsearchVersions, model: ElasticsearchUsers
) -> None:
    """The users are there still, and older events change nothing."""
    model.write(Batch([user_event(1, 2)], {0: Advance(None, FIRST)}))
    model._client.indices.delete(index=settings.named(CHECKPOINTS_INDEX))
    with pytest.raises(Fenced):
        model.write(Batch([], {0: Advance(FIRST, SECOND)}))
    versions.begin()
    assert model.checkpoint() == {}
    model.write(Batch([user_event(1, 1)], {0: Advance(None, FIRST)}))
    assert raw(model, user_event(1)["user_id"])["version"] == 2


def test_a_checkpoint_that_cannot_be_read_is_not_taken_for_none(
    settings: Settings, model: ElasticsearchUsers
) -> None:
    """As after a start of the server, when it answers before its indexes are open."""
    model.write(Batch([], {0: Advance(None, FIRST)}))
    checkpoints = settings.named(CHECKPOINTS_INDEX)
    model._client.indices.close(index=checkpoints)
    with pytest.raises(Unavailable, match="a checkpoint cannot be read"):
        model.checkpoint()
    model._client.indices.open(index=checkpoints, wait_for_active_shards=1)
    assert model.checkpoint() == {0: FIRST}
    model.write(Batch([], {0: Advance(FIRST, SECOND)}))
    assert model.checkpoint() == {0: SECOND}


def test_a_checkpoint_says_when_it_came_there(model: ElasticsearchUsers) -> None:
    before = time.time_ns() // 1_000_000
    model.write(Batch([], {0: Advance(None, FIRST)}))
    applied_at = model.checkpoint()[0].applied_at
    assert applied_at is not None
    assert before <= applied_at <= time.time_ns() // 1_000_000


def test_its_rows_are_what_the_events_say(model: ElasticsearchUsers) -> None:
    """Users and markers, more than a page of them; any field that differs makes another row."""
    events = [user_event(number, name=f"Jané {number}") for number in range(5_001)]
    events[0] = gone(events[0])
    model.write(step(*events))
    model.make_visible()
    rows = [row for page in model.rows() for row in page]
    assert sorted(rows) == sorted(map(model.row_of, events))
    other = copy.deepcopy(events[1])
    assert other["user"] is not None
    other["user"]["age"] += 1
    assert model.row_of(other) not in rows


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


def test_a_server_that_is_too_busy_is_tried_again(
    settings: Settings, model: ElasticsearchUsers
) -> None:
    """Here its disk is full, which it answers like a full queue: 429 for each document."""

    def fill_disk(*, full: bool) -> None:
        blocks = {"blocks.read_only_allow_delete": full or None}
        model._client.indices.put_settings(index=users_index(settings, 1), settings=blocks)

    jane = user_event(1)
    batch = Batch([jane], {0: Advance(None, FIRST)})
    fill_disk(full=True)
    with pytest.raises(Unavailable, match="status 429"):
        model.write(batch)
    assert model.checkpoint() == {}
    with ThreadPoolExecutor(1) as together:
        writing = together.submit(model.write, batch)
        fill_disk(full=False)
        writing.result()
    assert model.checkpoint() == {0: FIRST}
    assert raw(model, jane["user_id"])["version"] == 1


def test_a_server_that_is_away_is_said_at_once(settings: Settings) -> None:
    """Nothing is lost: the runner tries again."""
    away = replace(settings, elasticsearch_url="http://127.0.0.1:1")
    started = time.monotonic()
    with pytest.raises(Unavailable) as unavailable:
        search_users(away, "jane")
    assert unavailable.value.code == "elasticsearch_unavailable"
    with closing(ElasticsearchVersions(away)) as versions, pytest.raises(Unavailable):
        versions.versions()
    assert time.monotonic() - started < 5
