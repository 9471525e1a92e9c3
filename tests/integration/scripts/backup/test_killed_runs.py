"""Runs that are killed are continued, unless somebody else wrote in between."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from producers.client import CommandClient, update_command
from schemas.topics import HISTORY
from scripts.backup import restore as restoring
from scripts.backup import take
from scripts.backup import target as target_log
from scripts.backup.directory import BackupDirectory
from scripts.backup.restore import Restored
from tests.depth import depth
from tests.observed.log import read, send
from tests.started.addresses import assert_log_is_valid
from tests.started.processes import Rollbook, RunningProcess

pytestmark = pytest.mark.timeout(300)


class Killed(BaseException):
    """The end of a process; the code under test does not catch it."""


def dies_after(calls: int, function: Any) -> Any:
    """Return a function that works as often as `calls`, and then ends the process."""
    left = calls

    def counted(*arguments: Any) -> Any:
        nonlocal left
        if not left:
            raise Killed
        left -= 1
        return function(*arguments)

    return counted


def test_killed_runs_are_continued(
    rollbook: Rollbook,
    handler: RunningProcess,
    target: Rollbook,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A backup after the last partition that it copied, a restore after the last record."""
    settings = rollbook.settings
    with CommandClient(settings) as client:
        for number in range(12):
            client.create_user(f"user{number}@example.com", "Jane", 34)
    ends = []
    for copies in (2, 9):
        with monkeypatch.context() as patch, suppress(Killed):
            patch.setattr(take._Taking, "copy", dies_after(copies, take._Taking.copy))
            ends.append(take.take_backup(settings, folder, lambda _count: None))
    assert [sum(file.records for [file] in part.manifest.history) for part in ends] == [12]
    parts = BackupDirectory(folder).parts()
    monkeypatch.setattr(target_log, "_AT_ONCE", 10)
    done: Restored | None = None
    runs = 0
    while done is None and runs < 30:
        with monkeypatch.context() as patch, suppress(Killed):
            flush = dies_after(3 + runs * depth(100, 1), target_log.LogWriter.flush)
            patch.setattr(target_log.LogWriter, "flush", flush)
            done = restoring.restore(target.settings, parts, set(), lambda _count: None)
        runs += 1
    assert runs > 1
    assert done is not None
    assert (done.users, done.events, done.answers) == (12, 12, 12)
    assert_log_is_valid(target.settings)
    assert sorted(e["seq"] for _, e in read(target.settings, HISTORY)) == sorted(
        e["seq"] for _, e in read(settings, HISTORY)
    )


def test_a_restore_does_not_continue_over_the_command_of_a_client(
    rollbook: Rollbook,
    handler: RunningProcess,
    target: Rollbook,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its offset is reserved for an answer: the restore is refused, and stays unfinished."""
    with CommandClient(rollbook.settings) as client:
        user_id = client.create_user("jane@example.com", "Jane", 34).user_id
    rollbook.json("backup", str(folder))
    parts = BackupDirectory(folder).parts()
    flush = dies_after(1, target_log.LogWriter.flush)
    with monkeypatch.context() as patch, suppress(Killed):
        patch.setattr(target_log.LogWriter, "flush", flush)
        restoring.restore(target.settings, parts, set(), lambda _count: None)
    send(target.settings, [update_command(user_id, age=35)])
    for _ in range(2):
        refused = target.json("restore", str(folder), code=2)["error"]
        assert refused["code"] == "not_empty"
        assert "user-commands" in refused["message"]
