"""One version in Elasticsearch without a log, beyond what every read model promises."""

import copy
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from projectors.contract.read_model import Advance, Batch, Dropped, Position
from projectors.elasticsearch.index.indexes import CHECKPOINTS_INDEX, users_index
from projectors.elasticsearch.index.versions import ElasticsearchVersions
from projectors.elasticsearch.index.writer import ElasticsearchUsers
from projectors.elasticsearch.search import queries
from projectors.elasticsearch.search.queries import UserSearch, search_users
from projectors.promises.events import erasure, user_event, user_id
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


def test_a_page_of_an_older_search_shows_no_user_who_is_gone(
    settings: Settings, model: ElasticsearchUsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither with a cursor nor in a list of all users that began before."""
    monkeypatch.setattr(queries, "LIMIT_MAX", 1)
    model.write(step(*[user_event(number) for number in range(4)]))
    model.make_visible()
    with UserSearch(settings) as search:
        first = search.page("jane", limit=1)
        everyone = search.every_user("jane")
        shown = next(everyone)["user_id"]
        left = [number for number in range(4) if user_id(number) != shown]
        model.write(step(erasure(left[0], 2), user_event(left[1], 2, gone=True)))
        rest = [user_id(left[2])]
        cursor, found = first.next, []
        while cursor:
            page = search.page("jane", limit=1, cursor=cursor)
            found += [user["user_id"] for user in page.users]
            cursor = page.next
        assert found == rest
        assert [user["user_id"] for user in everyone] == rest


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
