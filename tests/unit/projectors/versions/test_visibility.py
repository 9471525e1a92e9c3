"""A wait for a token ends once queries see it, whatever happens to the read model meanwhile."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projectors.versions.visibility import LiveVersion, TopicIds
from runtime.settings import Settings
from schemas.errors import NotInTime, Unavailable
from schemas.tokens import parse_token
from schemas.topics import EVENTS
from tests.unit.projectors.versions.memory_versions import MemoryVersions

TOKEN = parse_token("2:5")
PATIENCE_SECONDS = 10


@pytest.fixture
def versions() -> MemoryVersions:
    """A read model whose first version is live and has applied nothing."""
    versions = MemoryVersions()
    versions.begin()
    return versions


def live_version(versions: MemoryVersions, topic_id: str = "topic") -> LiveVersion:
    return LiveVersion(versions, lambda _topic: topic_id)


def steps(*actions: Callable[[], object]) -> Callable[[], None]:
    """Return a function that does the next of `actions` at each call, then nothing."""
    left = iter(actions)

    def do() -> None:
        next(left, lambda: None)()

    return do


def later(action: Callable[[], object], questions: int = 12) -> Callable[[], None]:
    """Return a function that does `action` after this many calls."""
    return steps(*[lambda: None] * questions, action)


def set_seqs(versions: MemoryVersions, number: int, **seqs: int) -> None:
    versions.models[number].seqs = {int(name[1:]): seq for name, seq in seqs.items()}


@pytest.mark.parametrize("seq", [5, 6])
def test_an_applied_event_is_made_visible_without_waiting(
    versions: MemoryVersions, seq: int
) -> None:
    set_seqs(versions, 1, p2=seq)
    live_version(versions).wait(TOKEN, timeout_seconds=0)
    assert versions.models[1].visible == {2: seq}


def test_a_wait_ends_once_the_event_is_applied(versions: MemoryVersions) -> None:
    set_seqs(versions, 1, p2=4, p3=9)
    versions.happens = later(lambda: set_seqs(versions, 1, p2=5))
    live_version(versions).wait(TOKEN, timeout_seconds=PATIENCE_SECONDS)
    assert versions.models[1].visible == {2: 5}


def test_each_partition_of_a_token_counts(versions: MemoryVersions) -> None:
    set_seqs(versions, 1, p0=7, p2=5)
    live = live_version(versions)
    live.wait(parse_token("0:7,2:5"), timeout_seconds=0)
    with pytest.raises(NotInTime, match=r"memory has not reached 1:1 .* at 1:0; 2 more"):
        live.wait(parse_token("0:7,1:1,2:6,3:1"), timeout_seconds=0)


def test_a_wait_times_out_and_reports_the_position(versions: MemoryVersions) -> None:
    """And nothing is made visible unnecessarily."""
    set_seqs(versions, 1, p2=4)
    begun = time.monotonic()
    with pytest.raises(NotInTime) as late:
        live_version(versions).wait(TOKEN, timeout_seconds=0.1)
    assert time.monotonic() - begun >= 0.1
    assert late.value.code == "not_visible_in_time"
    assert str(late.value) == "memory has not reached 2:5 within 0.1 s: it is at 2:4"
    assert "projector status" in late.value.next_step
    assert versions.models[1].visible == {}


def test_a_read_model_of_a_topic_that_was_re_created_shows_nothing(
    versions: MemoryVersions,
) -> None:
    """Its seqs are greater than those of the present log, and belong to other events."""
    set_seqs(versions, 1, p2=500)
    with pytest.raises(NotInTime, match="re-created") as late:
        live_version(versions, "other").wait(TOKEN, timeout_seconds=0.05)
    assert "rebuild" in late.value.next_step
    assert versions.models[1].visible == {}


def test_the_ids_of_topics_are_looked_up_rarely() -> None:
    asked: list[Settings] = []

    def look_up(settings: Settings) -> dict[str, str]:
        asked.append(settings)
        return {EVENTS.name: "an id"}

    ids = TopicIds(Settings(), look_up)
    assert [ids.id_of(EVENTS) for _ in range(3)] == ["an id"] * 3
    assert len(asked) == 1


def test_a_missing_read_model_is_waited_for() -> None:
    """Its projector may be about to create it."""
    versions = MemoryVersions()
    live = live_version(versions)
    with pytest.raises(NotInTime, match="no read model memory existed within 0 s"):
        live.wait(TOKEN, timeout_seconds=0)

    def begin() -> None:
        versions.begin()
        set_seqs(versions, 1, p2=5)

    versions.happens = later(begin, 3)
    live.wait(TOKEN, timeout_seconds=PATIENCE_SECONDS)


def test_a_version_that_is_no_longer_live_does_not_count(
    versions: MemoryVersions,
) -> None:
    """The old version is kept up to date after a swap, and may be ahead of the live one."""
    set_seqs(versions, 1, p2=4)
    versions.create()
    set_seqs(versions, 2, p2=4)
    live = live_version(versions)
    with pytest.raises(NotInTime):
        live.wait(TOKEN, timeout_seconds=0)
    versions.swap(2, lambda: None)
    set_seqs(versions, 1, p2=5)
    with pytest.raises(NotInTime, match="at 2:4"):
        live.wait(TOKEN, timeout_seconds=0)
    versions.happens = later(lambda: set_seqs(versions, 2, p2=5))
    live.wait(TOKEN, timeout_seconds=PATIENCE_SECONDS)
    assert versions.models[2].visible == {2: 5}


def test_a_wait_moves_from_a_dropped_version_to_the_live_one(
    versions: MemoryVersions,
) -> None:
    set_seqs(versions, 1, p2=4)
    versions.create()
    set_seqs(versions, 2, p2=5)

    def leave() -> None:
        versions.swap(2, lambda: None)
        versions.drop(1)

    first = versions.models[1]
    versions.happens = later(leave)
    live = live_version(versions)
    live.wait(TOKEN, timeout_seconds=PATIENCE_SECONDS)
    live.close()
    assert (first.closed, versions.models[2].closed) == (1, 1)


def test_progress_extends_a_wait_if_asked_for(versions: MemoryVersions) -> None:
    """However long it takes in total; without progress it times out."""
    moving = iter(range(1, 5))

    def move() -> None:
        seq = next(moving, None)
        if seq is not None:
            time.sleep(0.05)
            set_seqs(versions, 1, p2=seq)

    versions.happens = move
    begun = time.monotonic()
    with pytest.raises(NotInTime, match="at 2:4"):
        live_version(versions).wait(TOKEN, timeout_seconds=0.15, extend_on_progress=True)
    assert time.monotonic() - begun >= 0.2 + 0.15


def test_an_unavailable_store_is_reported_at_once(versions: MemoryVersions) -> None:
    def away() -> None:
        raise Unavailable("away")

    versions.happens = away
    with pytest.raises(Unavailable):
        live_version(versions).wait(TOKEN, timeout_seconds=PATIENCE_SECONDS)


SWAP, DROP = "swap", "drop"


@given(st.lists(st.one_of(st.integers(1, 3), st.sampled_from([SWAP, DROP]))), st.integers(1, 6))
def test_after_a_wait_every_query_sees_what_was_waited_for(
    happenings: list[int | str], seq: int
) -> None:
    """Whatever is swapped, dropped or delayed between any two of its steps, and after it."""
    versions = MemoryVersions()
    versions.begin()
    todo = iter(happenings)

    def happens() -> None:
        _happen(versions, next(todo, None))

    versions.happens = happens
    live = live_version(versions)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("projectors.versions.visibility._MAX_PAUSE_SECONDS", 0)
        live.wait(parse_token(f"0:{seq}"), timeout_seconds=PATIENCE_SECONDS)
    for _ in happenings:
        assert versions.live is not None
        assert versions.models[versions.live].visible[0] >= seq
        happens()


def _happen(versions: MemoryVersions, what: int | str | None) -> None:
    """Apply an event, create a version and swap to it, or drop the old ones."""
    assert versions.live is not None
    live = versions.models[versions.live]
    if what == SWAP:
        new = versions.models[versions.create()]
        # It has applied everything that the log had: at least what the live one has.
        new.seqs = dict(live.seqs)
        versions.swap(new.version, lambda: None)
    elif what == DROP:
        for number in [number for number in versions.models if number != versions.live]:
            versions.drop(number)
    else:
        model = versions.models.get(what, live) if isinstance(what, int) else live
        model.seqs[0] = model.seqs.get(0, 0) + 1
