"""The example of docs/your-own-read-model.md keeps what every read model promises."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from runtime.settings import Settings
from schemas.errors import RollbookError
from tests.examples.domains import DomainVersions
from tests.read_model_promises import PROMISES, Promise, Trial, data, name_of, versions
from tests.unit.broken_domains import (
    ForgetsTheGone,
    GoesLiveAnyway,
    HoldsNobody,
    IgnoresVersions,
    LivesOn,
    LosesWhatIsRefused,
    NeverFences,
    NeverUpdates,
    StaysWithoutAStep,
    broken,
)


@pytest.fixture
def settings(quick_directory: Path) -> Iterator[Settings]:
    with TemporaryDirectory(dir=quick_directory) as directory:
        yield Settings(state_directory=directory)


@pytest.mark.parametrize("promise", PROMISES, ids=name_of)
def test_it_keeps_its_promises(promise: Promise, settings: Settings) -> None:
    with closing(Trial(lambda: DomainVersions(settings))) as trial:
        promise(trial)


BROKEN: list[tuple[type[DomainVersions], Promise]] = [
    (broken(NeverUpdates), data.the_rows_are_those_of_the_log),
    (broken(IgnoresVersions), data.an_older_event_changes_nothing),
    (broken(ForgetsTheGone), data.a_user_that_is_gone_stays_gone_whatever_comes_late),
    (broken(StaysWithoutAStep), data.events_without_a_step_leave_the_checkpoint_where_it_is),
    (broken(NeverFences), data.a_batch_from_elsewhere_is_fenced_and_changes_nothing),
    (broken(LosesWhatIsRefused), data.what_cannot_be_stored_is_poisoned_without_a_word_of_it),
    (broken(LivesOn), versions.who_uses_a_version_that_was_dropped_is_told_so),
    (HoldsNobody, versions.while_a_swap_waits_the_live_version_is_held_and_the_other_catches_up),
    (GoesLiveAnyway, versions.a_swap_that_fails_changes_nothing),
]


@pytest.mark.parametrize(("wrong", "promise"), BROKEN, ids=lambda given: given.__name__)
def test_a_promise_that_is_broken_is_found(
    wrong: type[DomainVersions], promise: Promise, settings: Settings
) -> None:
    """A check that cannot fail proves nothing."""
    with (
        closing(Trial(lambda: wrong(settings))) as trial,
        pytest.raises((AssertionError, RollbookError, pytest.fail.Exception)),
    ):
        promise(trial)
