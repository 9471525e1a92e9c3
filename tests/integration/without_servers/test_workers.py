"""Processes that share the work of a command: results, messages, errors, and how they end."""

import logging
import os
import signal
from multiprocessing import get_context
from multiprocessing.connection import Connection

import pytest

from projectors.versions.digests import Digest
from runtime.process import StopSignal
from runtime.settings import Settings
from runtime.workers import Worker, WorkStopped, started_workers, worth_starting
from schemas.errors import Misconfigured, RollbookError
from tests.started.processes import eventually

SETTINGS = Settings(prefix="here")
EMAIL = "jane@example.com"
SHARES = [("first",), ("second",)]


def describe(worker: Worker, share: str) -> tuple[str, str, Digest]:
    worker.report(f"began {share}")
    logging.getLogger("projectors").warning("waiting for %s", "a server")
    digest = Digest()
    digest.add(("an id", 1, "a text", None, b"bytes", 1.5))
    return share, worker.settings.prefix, digest


def wait_until_stopped(worker: Worker, share: str) -> str:
    worker.report(os.getpid())
    assert worker.stopping.wait(60)
    return share


def fail_in_the_second(worker: Worker, share: str) -> None:
    if share == "first":
        wait_until_stopped(worker, share)
        raise WorkStopped
    raise Misconfigured("it cannot be", code="bad_setting", next_step="do otherwise")


def make_a_mistake(_worker: Worker, share: str) -> None:
    raise ValueError(EMAIL, share)


def be_killed(worker: Worker, share: str) -> None:
    if share == "first":
        wait_until_stopped(worker, share)
    os.kill(os.getpid(), signal.SIGKILL)


def test_each_share_is_worked_on_and_all_processes_hash_alike(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What they report and log arrives here; a second round finds them still there."""
    seen: list[str] = []
    with started_workers(SETTINGS, 2) as workers:
        for _ in range(2):
            found = workers.run(describe, SHARES, seen.append, StopSignal())
    assert [one[:2] for one in found] == [("first", "here"), ("second", "here")]
    assert found[0][2] == found[1][2]
    assert sorted(seen) == 2 * ["began first"] + 2 * ["began second"]
    assert "waiting for a server" in caplog.messages
    assert "PYTHONHASHSEED" not in os.environ


def test_they_stop_when_the_command_is_asked_to() -> None:
    stopping, pids = StopSignal(), list[int]()

    def stop_once_both_work(pid: int) -> None:
        pids.append(pid)
        if len(pids) == len(SHARES):
            stopping.set()

    with started_workers(SETTINGS, 2) as workers, pytest.raises(WorkStopped):
        workers.run(wait_until_stopped, SHARES, stop_once_both_work, stopping)
    assert not [pid for pid in pids if _is_running(pid)]


def test_the_error_of_one_stops_the_others() -> None:
    with started_workers(SETTINGS, 2) as workers, pytest.raises(Misconfigured) as raised:
        workers.run(fail_in_the_second, SHARES, lambda _pid: None, StopSignal())
    assert (raised.value.code, raised.value.next_step) == ("bad_setting", "do otherwise")


def test_a_mistake_is_logged_without_its_message(caplog: pytest.LogCaptureFixture) -> None:
    with started_workers(SETTINGS, 2) as workers, pytest.raises(RollbookError) as raised:
        workers.run(make_a_mistake, SHARES, lambda _pid: None, StopSignal())
    assert str(raised.value) == "a process that shared the work failed: ValueError"
    assert "make_a_mistake" in caplog.text
    assert EMAIL not in caplog.text


def test_a_process_that_is_killed_ends_the_command() -> None:
    with started_workers(SETTINGS, 2) as workers, pytest.raises(RollbookError) as raised:
        workers.run(be_killed, SHARES, lambda _pid: None, StopSignal())
    assert "--processes 1" in raised.value.next_step


def test_an_interrupt_stops_them() -> None:
    """As Ctrl-C does in a command that handles no signals of its own."""
    with started_workers(SETTINGS, 2) as workers, pytest.raises(KeyboardInterrupt):
        workers.run(wait_until_stopped, SHARES, _interrupt, StopSignal())


def test_they_end_with_the_process_that_started_them() -> None:
    """However it ends: a rebuild that is killed must leave nobody who writes."""
    ours, theirs = get_context("spawn").Pipe()
    parent = get_context("spawn").Process(target=_start_and_tell, args=(theirs,))
    parent.start()
    theirs.close()
    pids = [ours.recv() for _ in SHARES]
    parent.kill()
    parent.join()
    eventually(lambda: not [pid for pid in pids if _is_running(pid)], what="they end")


def test_more_processes_for_more_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: range(64), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert [worth_starting(events) for events in (0, 199_999, 200_000, 10**9)] == [1, 1, 2, 4]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert worth_starting(10**9) == 1


def _start_and_tell(pipe: Connection) -> None:
    with started_workers(SETTINGS, 2) as workers:
        workers.run(wait_until_stopped, SHARES, pipe.send, StopSignal())


def _interrupt(_message: object) -> None:
    raise KeyboardInterrupt


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
