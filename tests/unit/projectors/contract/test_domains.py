"""The example of docs/your-own-read-model.md keeps what every read model promises."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from projectors.contract.read_model import Batch
from projectors.promises import PROMISES, Promise, Trial, data, promise_name, versions
from projectors.promises.events import user_event
from runtime.settings import Settings
from schemas.errors import Misconfigured, RollbookError, Unavailable
from tests.examples import domains
from tests.examples.domains import COLUMNS, DomainVersions, transaction
from tests.examples.users_per_domain import count_users
from tests.unit.projectors.contract.broken_domains import (
    BlocksNoWriter,
    ForgetsTheDeleted,
    GoesLiveAnyway,
    IgnoresItsEnd,
    IgnoresVersions,
    LosesRefused,
    NeverFences,
    NeverUpdates,
    SkipsBatchesWithoutAStep,
    broken,
)


@pytest.fixture
def settings(quick_directory: Path) -> Iterator[Settings]:
    with TemporaryDirectory(dir=quick_directory) as directory:
        yield Settings(state_directory=directory)


@pytest.mark.parametrize("promise", PROMISES, ids=promise_name)
def test_it_keeps_its_promises(promise: Promise, settings: Settings) -> None:
    with closing(Trial(lambda: DomainVersions(settings))) as trial:
        promise(trial)


BROKEN: list[tuple[type[DomainVersions], Promise]] = [
    (broken(NeverUpdates), data.the_rows_are_those_of_the_log),
    (broken(IgnoresVersions), data.an_older_event_changes_nothing),
    (broken(ForgetsTheDeleted), data.a_deleted_user_stays_deleted_when_older_events_arrive_late),
    (broken(SkipsBatchesWithoutAStep), data.events_without_a_step_leave_the_checkpoint_where_it_is),
    (broken(NeverFences), data.a_batch_from_another_checkpoint_is_fenced_and_changes_nothing),
    (
        broken(LosesRefused),
        data.an_event_that_cannot_be_stored_is_poisoned_without_quoting_it,
    ),
    (broken(IgnoresItsEnd), versions.using_a_dropped_version_raises_dropped),
    (BlocksNoWriter, versions.while_a_swap_waits_writes_to_the_live_version_block),
    (GoesLiveAnyway, versions.a_swap_that_fails_changes_nothing),
]


@pytest.mark.parametrize(("wrong", "promise"), BROKEN, ids=lambda given: given.__name__)
def test_a_broken_promise_is_detected(
    wrong: type[DomainVersions], promise: Promise, settings: Settings
) -> None:
    """A check that cannot fail proves nothing."""
    with (
        closing(Trial(lambda: wrong(settings))) as trial,
        pytest.raises((AssertionError, RollbookError, pytest.fail.Exception)),
    ):
        promise(trial)


def test_a_user_is_counted_once_after_it_changes_domain(settings: Settings) -> None:
    with pytest.raises(Unavailable) as missing:
        count_users(settings)
    assert missing.value.code == "read_model_missing"
    with closing(Trial(lambda: DomainVersions(settings))) as trial:
        live = trial.live()
        live.write(*(user_event(number) for number in range(5)))
        live.write(user_event(1, 2, email_key="a@example.org"), user_event(2, 2, age=40))
        live.write(user_event(3, 2, gone=True))
        assert count_users(settings) == [("example.com", 3), ("example.org", 1)]
        assert count_users(settings, limit=1) == [("example.com", 3)]
        other = trial.build_ready()
        trial.versions.swap(other.model.version, lambda: None)
        assert count_users(settings) == []


def test_a_version_keeps_the_columns_it_was_created_with(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer release writes both shapes; an older one refuses the shape it cannot write."""
    with closing(Trial(lambda: DomainVersions(settings))) as trial:
        live = trial.live()
        live.write(user_event(1))
        with monkeypatch.context() as newer:
            newer.setitem(COLUMNS, "age", lambda event: event["user"] and event["user"]["age"])
            old, new = trial.open(1), trial.build_ready()
            old.model.write(Batch([user_event(2)], live.step()))
            new.write(user_event(1), user_event(2, 2, gone=True))
            new.check()
            assert (user_event(1)["user_id"], 1, "example.com", 34) in next(iter(new.model.rows()))
        assert [len(row) for rows in live.model.rows() for row in rows] == [3, 3]
        with pytest.raises(Misconfigured) as other:
            trial.versions.open(2)
        assert other.value.code == "other_shape"


def test_a_killed_swap_blocks_no_writer(settings: Settings) -> None:
    with closing(Trial(lambda: DomainVersions(settings))) as trial:
        live, other = trial.live(), trial.build_ready()
        killed = subprocess.Popen(
            [sys.executable, "-c", HELD_SWAP, settings.state_directory],
            cwd=Path(__file__).parents[4],
            stdout=subprocess.PIPE,
        )
        with killed:
            assert killed.stdout is not None
            assert killed.stdout.readline() == b"held\n"
            killed.kill()
        live.write(user_event(1))
        assert trial.live_number() == live.model.version
        trial.versions.swap(other.model.version, lambda: None)
        assert trial.live_number() == other.model.version


HELD_SWAP = """
import sys, time
from runtime.settings import Settings
from tests.examples.domains import DomainVersions

def hold():
    print("held", flush=True)
    time.sleep(300)

DomainVersions(Settings(state_directory=sys.argv[1])).swap(2, hold)
"""


def test_an_unusable_file_is_unavailable(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locked by another process for long, or impossible to create."""
    monkeypatch.setattr(domains, "_WAIT_SECONDS", 0.05)
    with closing(Trial(lambda: DomainVersions(settings))) as trial:
        live = trial.live()
        with transaction(DomainVersions(settings).file(1)), pytest.raises(Unavailable) as held:
            live.write(user_event(1))
        assert "SQLITE_BUSY" in str(held.value)
        live.write(user_event(1))
        live.check()
    (tmp_path / "domains").touch()
    with pytest.raises(Unavailable):
        DomainVersions(Settings(state_directory=str(tmp_path))).begin()
