"""One version of the Elasticsearch read model without a log: the guarantees of `write`."""

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
from schemas.records import UserEvent

FIRST = Position("topic-1", 10, 5)
SECOND = Position("topic-1", 20, 9)


def step(*events: UserEvent) -> Batch:
    """Return a batch without a step of the checkpoint."""
    return Batch(events, {})


@pytest.fixture
def model(versions: ElasticsearchVersions) -> Iterator[ElasticsearchUsers]:
    """The live version."""
    found = versions.open(1)
    yield found
    found.close()


def raw(model: ElasticsearchUsers, user_id: str) -> Mapping[str, Any]:
    """Return a stored document, also before a refresh, and also a marker."""
    index = users_index(model._settings, model.version)
    source: Mapping[str, Any] = model._client.get(index=index, id=user_id)["_source"]
    return source


def search(settings: Settings, model: ElasticsearchUsers, text: str) -> list[str]:
    """Return the names that a search finds after a refresh."""
    model._client.indices.refresh(index=settings.named(USERS_ALIAS))
    return [user["name"] for user in search_users(settings, text)]


def test_an_older_event_changes_nothing(settings: Settings, model: ElasticsearchUsers) -> None:
    """Replays and stale processes are harmless, in any order."""
    model.write(step(user_event(1, 3, name="New Name")))
    model.write(step(user_event(1, 2, name="Old Name")))
    model.write(step(user_event(1, 3, name="Other Name")))
    assert search(settings, model, "user1") == ["New Name"]


def test_a_deleted_user_becomes_a_marker_that_searches_do_not_find(
    settings: Settings, model: ElasticsearchUsers
) -> None:
    """No personal data remains, and a late event does not bring the user back."""
    jane = user_event(1)
    model.write(step(jane))
    model.write(step(user_event(1, 2, gone=True)))
    model.write(step(jane))
    assert search(settings, model, "jane") == []
    assert raw(model, jane["user_id"]).keys() == {"user_id", "version", "updated_at", "gone"}


def test_the_checkpoint_moves_only_from_its_current_position(
    versions: ElasticsearchVersions, model: ElasticsearchUsers
) -> None:
    """A stale process is fenced."""
    stale = versions.open(1)
    model.write(Batch([], {0: Advance(None, FIRST), 3: Advance(None, FIRST)}))
    assert stale.checkpoint() == {0: FIRST, 3: FIRST}
    model.write(Batch([], {0: Advance(FIRST, SECOND)}))
    with pytest.raises(Fenced):
        stale.write(Batch([], {0: Advance(FIRST, replace(SECOND, next_offset=15))}))
    with pytest.raises(Fenced):
        model.write(Batch([], {0: Advance(None, FIRST)}))
    assert stale.checkpoint() == model.checkpoint() == {0: SECOND, 3: FIRST}
    stale.close()


def test_the_checkpoint_of_a_deleted_index_is_ignored(
    settings: Settings, versions: ElasticsearchVersions, model: ElasticsearchUsers
) -> None:
    """After someone deleted the index by hand, the log is replayed completely."""
    model.write(Batch([], {0: Advance(None, FIRST)}))
    model._client.indices.delete(index=users_index(settings, 1))
    with pytest.raises(Dropped):
        model.checkpoint()
    with pytest.raises(Unavailable):
        search_users(settings, "jane")
    versions.begin()
    with pytest.raises(Dropped):
        model.checkpoint()
    with closing(versions.open(1)) as recreated:
        assert recreated.checkpoint() == {}
        recreated.write(Batch([], {0: Advance(None, SECOND)}))
        assert recreated.checkpoint() == {0: SECOND}


def test_deleted_checkpoints_start_from_the_beginning(
    settings: Settings, versions: ElasticsearchVersions, model: ElasticsearchUsers
) -> None:
    """The users still exist, and older events change nothing."""
    model.write(Batch([user_event(1, 2)], {0: Advance(None, FIRST)}))
    model._client.indices.delete(index=settings.named(CHECKPOINTS_INDEX))
    with pytest.raises(Fenced):
        model.write(Batch([], {0: Advance(FIRST, SECOND)}))
    versions.begin()
    assert model.checkpoint() == {}
    model.write(Batch([user_event(1, 1)], {0: Advance(None, FIRST)}))
    assert raw(model, user_event(1)["user_id"])["version"] == 2


def test_a_checkpoint_that_cannot_be_read_is_not_taken_for_a_missing_one(
    settings: Settings, model: ElasticsearchUsers
) -> None:
    """As when the server has just started and its indexes are not open yet."""
    model.write(Batch([], {0: Advance(None, FIRST)}))
    checkpoints = settings.named(CHECKPOINTS_INDEX)
    model._client.indices.close(index=checkpoints)
    with pytest.raises(Unavailable, match="cannot read a checkpoint"):
        model.checkpoint()
    model._client.indices.open(index=checkpoints, wait_for_active_shards=1)
    assert model.checkpoint() == {0: FIRST}
    model.write(Batch([], {0: Advance(FIRST, SECOND)}))
    assert model.checkpoint() == {0: SECOND}


def test_a_checkpoint_has_the_time_at_which_it_was_written(model: ElasticsearchUsers) -> None:
    before = time.time_ns() // 1_000_000
    model.write(Batch([], {0: Advance(None, FIRST)}))
    applied_at = model.checkpoint()[0].applied_at
    assert applied_at is not None
    assert before <= applied_at <= time.time_ns() // 1_000_000


def test_stored_rows_equal_the_rows_of_their_events(model: ElasticsearchUsers) -> None:
    """Users and markers, more than one page; a difference in any field makes another row."""
    events = [user_event(number, name=f"Jané {number}") for number in range(5_001)]
    events[0] = user_event(0, 2, gone=True)
    model.write(step(*events))
    model.make_visible()
    rows = [row for page in model.rows() for row in page]
    assert sorted(rows) == sorted(map(model.row_of, events))
    other = copy.deepcopy(events[1])
    assert other["user"] is not None
    other["user"]["age"] += 1
    assert model.row_of(other) not in rows


def test_the_error_for_a_refused_document_names_only_the_user_id(
    model: ElasticsearchUsers,
) -> None:
    """The rest is stored, the checkpoint stays, and the message has no personal data."""
    bad = user_event(1, name="Bad Secret", email="secret@example.com", age=2**40)
    good = user_event(2, name="Good")
    with pytest.raises(Poisoned) as poisoned:
        model.write(Batch([bad, good], {0: Advance(None, FIRST)}))
    assert bad["user_id"] in str(poisoned.value)
    assert "ecret" not in str(poisoned.value)
    assert raw(model, good["user_id"])["name"] == "Good"
    assert model.checkpoint() == {}


def test_a_request_to_a_busy_server_is_retried(
    settings: Settings, model: ElasticsearchUsers
) -> None:
    """Here its disk is full, which it reports like a full queue: 429 for each document."""

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


def test_an_unavailable_server_is_reported(settings: Settings) -> None:
    """Nothing is lost, because the runner retries."""
    unreachable = replace(settings, elasticsearch_url="http://127.0.0.1:1")
    with pytest.raises(Unavailable) as unavailable:
        search_users(unreachable, "jane")
    assert unavailable.value.code == "elasticsearch_unavailable"
    with closing(ElasticsearchVersions(unreachable)) as versions, pytest.raises(Unavailable):
        versions.versions()
