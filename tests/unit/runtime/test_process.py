"""Long-running processes: one per name, stopped by signals."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.process import (
    FORBIDDEN_RETRY_SECONDS,
    Backoff,
    Reminder,
    StopSignal,
    only_instance,
)
from runtime.settings import Settings
from schemas.errors import Misconfigured


@pytest.fixture
def own_signals() -> Iterator[None]:
    saved = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in saved.items():
        signal.signal(number, handler)


def test_pauses_double_up_to_a_maximum_until_reset() -> None:
    """Each pause varies by at most 20 %; after a reset the first one is short again."""
    backoff = Backoff(first_seconds=0.1, most_seconds=1.0)
    expected = [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    for seconds in expected:
        assert 0.8 * seconds <= backoff.next_seconds() <= 1.2 * seconds
    backoff.reset()
    assert backoff.next_seconds() <= 0.12


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_to_stop(own_signals: None, number: signal.Signals) -> None:
    """A wait ends at once, and a second signal would end the process."""
    stop = StopSignal().install()
    assert not stop
    os.kill(os.getpid(), number)
    assert stop.wait(5)
    assert stop
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_wait_ends_without_a_signal() -> None:
    stop = StopSignal()
    assert stop.wait(0.001) is False
    stop.set()
    assert stop.wait(60) is True


def test_one_process_per_name(tmp_path: Path) -> None:
    """A second process of a name is refused; other names and other prefixes are not."""
    settings = Settings(state_directory=str(tmp_path))
    with only_instance(settings, "handler-1"):
        with pytest.raises(Misconfigured) as caught, only_instance(settings, "handler-1"):
            pass
        assert caught.value.code == "already_running"
        with only_instance(settings, "handler-2"):
            pass
        other = Settings(state_directory=str(tmp_path), prefix="other")
        with only_instance(other, "handler-1"):
            pass
    with only_instance(settings, "handler-1"):
        pass


def test_a_killed_process_leaves_its_name_free(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from runtime.process import only_instance\n"
        "from runtime.settings import Settings\n"
        "with only_instance(Settings(state_directory=sys.argv[1]), 'handler-1'):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        settings = Settings(state_directory=str(tmp_path))
        with pytest.raises(Misconfigured), only_instance(settings, "handler-1"):
            pass
        holder.kill()
        holder.wait()
    with only_instance(settings, "handler-1"):
        pass


def test_a_denied_access_is_logged_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each text for itself."""
    now = 1_000.0
    monkeypatch.setattr("runtime.process.time.monotonic", lambda: now)
    reminder = Reminder()
    assert [reminder.is_due("a"), reminder.is_due("a"), reminder.is_due("b")] == [True, False, True]
    now += FORBIDDEN_RETRY_SECONDS
    assert reminder.is_due("a")
