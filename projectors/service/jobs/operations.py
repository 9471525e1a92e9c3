"""The operations that jobs run, in their own processes: what the commands of their names do."""

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

from projectors.catalog import open_versions
from projectors.dead_letters.reader import named, read_letters
from projectors.dead_letters.retry import discard as discard_letters
from projectors.dead_letters.retry import retry_all
from projectors.service.jobs.worker import Emit, Operation
from projectors.versions.compare import compare_version
from projectors.versions.groups import drop_version
from projectors.versions.rebuild import Rebuild
from projectors.versions.swap import swap as make_live
from projectors.versions.swap import version_before
from runtime.process import StopSignal
from runtime.settings import Settings
from schemas.letters import Letter

_LINE_EVERY_SECONDS: Final = 0.5
Arguments = Mapping[str, Any]


def rebuild(settings: Settings, asked: Arguments, emit: Emit) -> Mapping[str, Any] | None:
    """Build a new version of a read model; None if asked to stop."""
    stopping = StopSignal().install()
    with closing(open_versions(settings, asked["read_model"])) as versions:
        began = told = time.monotonic()
        running = Rebuild(settings, versions, stopping)
        stage = ("", False)

        def on_progress() -> None:
            nonlocal told, stage
            at, now = running.progress, time.monotonic()
            reached = (at.step, at.fraction >= 1)
            if reached == stage and now - told < _LINE_EVERY_SECONDS:
                return
            told, stage = now, reached
            left = at.seconds_left(now)
            emit(
                {
                    "text": at.describe(now - began, now),
                    "step": at.step,
                    "fraction": round(at.fraction, 4),
                    "events": at.events,
                    "seconds_left": None if left is None else round(left, 1),
                }
            )

        running.on_progress = on_progress
        rebuilt = running.run()
        if rebuilt is None:
            return None
        return rebuilt.as_json(versions.name, time.monotonic() - began)


def compare(settings: Settings, asked: Arguments, emit: Emit) -> Mapping[str, Any]:
    """Compare a version with the log, user by user."""

    def on_progress(partition: int) -> None:
        fraction = partition / settings.partitions
        text = f"read {partition} of {settings.partitions} partitions"
        emit({"text": text, "fraction": round(fraction, 4)})

    with closing(open_versions(settings, asked["read_model"])) as versions:
        found = compare_version(settings, versions, asked["version"], on_progress)
    return found.as_json(asked["read_model"], asked["version"])


def swap(settings: Settings, asked: Arguments, emit: Emit) -> Mapping[str, Any]:
    """Make a version live, or without one the version that was live before."""
    with closing(open_versions(settings, asked["read_model"])) as versions:
        number = asked.get("version")
        if number is None:
            number = version_before(versions)
        emit({"text": f"waiting until version {number} of {versions.name} has caught up"})
        make_live(settings, versions, number)
        emit({"text": f"version {number} of {versions.name} is live"})
    return {"read_model": asked["read_model"], "version": number, "live": True}


def drop(settings: Settings, asked: Arguments, emit: Emit) -> Mapping[str, Any]:
    """Remove a version that is not live."""
    name, number = asked["read_model"], asked["version"]
    with closing(open_versions(settings, name)) as versions:
        drop_version(settings, versions, number, lambda text: emit({"text": text}))
    return {"read_model": name, "version": number, "dropped": True}


def retry(settings: Settings, asked: Arguments, emit: Emit) -> Mapping[str, Any]:
    """Retry dead letters, in the order of the log."""
    letters = _chosen(settings, asked)
    totals: dict[str, int] = {}
    for one in retry_all(settings, letters, dry_run=asked["dry_run"]) if letters else ():
        totals[one.how] = totals.get(one.how, 0) + 1
        emit({"text": f"{one.letter.place} {one.letter.reader}: {one.how}", **one.as_json()})
    return {"letters": len(letters), "dry_run": asked["dry_run"], "results": totals}


def discard(settings: Settings, asked: Arguments, emit: Emit) -> Mapping[str, Any]:
    """Settle dead letters without applying their records."""
    letters = [letter for letter in _chosen(settings, asked) if letter.is_open]
    discard_letters(settings, letters)
    for letter in letters:
        emit(
            {
                "text": f"{letter.place} {letter.reader}: discarded",
                "letter": letter.place,
                "reader": letter.reader,
                "result": "discarded",
            }
        )
    return {"letters": len(letters)}


def _chosen(settings: Settings, asked: Arguments) -> list[Letter]:
    """Return the letters named, or without names the open ones, of one reader or of all."""
    reader = asked["reader"]
    letters = [one for one in read_letters(settings).letters if reader in {None, one.reader}]
    if asked["letters"]:
        return named(letters, asked["letters"])
    return [letter for letter in letters if letter.is_open]


OPERATIONS: Final[dict[str, Operation]] = {
    "rebuild": rebuild,
    "compare": compare,
    "swap": swap,
    "rollback": swap,
    "drop": drop,
    "retry": retry,
    "discard": discard,
}
