"""Input that the sending commands refuse without a server, and without quoting it."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from producers.cli.change import removal_times
from schemas.topics import COMMANDS, EMAILS, EVENTS, HISTORY, HOPS
from scripts.cli import run
from tests.unit.producers.cli.bad_input import (
    FIELDS,
    FILES,
    HEADER,
    LINES,
    MESSAGES,
    NOBODY,
    SETTINGS,
    Case,
    Ended,
    flaws,
    run_here,
)

NOWHERE = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "REGISTRY_URL": "http://127.0.0.1:1",
    "POSTGRES_URL": "postgresql://rollbook@127.0.0.1:1/rollbook",
    "ELASTICSEARCH_URL": "http://127.0.0.1:1",
}

ERASE = ["users", "erase", NOBODY]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capfdbinary: Any, tmp_path: Path) -> Callable[..., Ended]:
    """Run a command line in this process, where no server is available."""
    for name in [name for name in os.environ if name.startswith("ROLLBOOK_")]:
        monkeypatch.delenv(name)
    for name, address in NOWHERE.items():
        monkeypatch.setenv(f"ROLLBOOK_{name}", address)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def go(case: Case, *options: str) -> Ended:
        with monkeypatch.context() as patched:
            return run_here(case, options, patched, capfdbinary)

    return go


@pytest.mark.parametrize(
    "cases",
    [FIELDS, LINES, MESSAGES, SETTINGS],
    ids=["fields", "lines", "messages", "settings"],
)
def test_bad_options_input_and_settings_are_refused(
    cases: list[Case], here: Callable[..., Ended]
) -> None:
    """Before it connects to any server: exit code, one JSON object and no personal data."""
    found = [
        f"{[a[:40] for a in case.arguments]} {case.stdin[:60]!r} {case.environment}: {flaw}"
        for case in cases
        for flaw in flaws(case, here)
    ]
    assert not found, "\n".join(found)


def test_a_bad_settings_file_is_refused_by_name(here: Callable[..., Ended], tmp_path: Path) -> None:
    """Exit 2, naming the file and the setting, if there is one."""
    for number, (content, name) in enumerate(FILES.items()):
        file = tmp_path / f"{number}.toml"
        file.write_bytes(content)
        line = ("--config", str(file), "config", "show")
        case = Case(line, 2, "bad_setting", b"", {}, (str(file), name))
        assert list(flaws(case, here)) == [], content


@pytest.mark.parametrize(
    ("content", "options"),
    [(HEADER, ("--rejects", "/n/x")), (HEADER, ("--format", "xml")), (HEADER, ("--timeout", "nan")),
     (b"", ()), (b"e-mail;name\n", ()), (b"[]", ()), (b"\xff\xfee\0", ()), (b"\0\0", ())],
)  # fmt: skip
def test_a_file_that_is_not_a_table_of_people_is_refused(
    here: Callable[..., Ended], tmp_path: Path, content: bytes, options: tuple[str, ...]
) -> None:
    """Exit 2, also by a dry run."""
    file = tmp_path / "people.csv"
    file.write_bytes(content)
    code = "usage" if options else "unreadable_file"
    case = Case(("users", "import", str(file), "--dry-run", *options), 2, code)
    assert list(flaws(case, here)) == []


class _Terminal(io.TextIOWrapper):
    """A standard stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "code", "said"), [(b"n\n", 3, "nothing was erased"), (b"y\n", 5, "127.0.0.1:1")]
)
def test_an_erasure_asks_on_a_terminal_and_stops_at_a_no(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    typed: bytes,
    code: int,
    said: str,
) -> None:
    """It first lists what is removed and when; only after a yes it asks for a server."""
    for name, address in NOWHERE.items():
        monkeypatch.setenv(f"ROLLBOOK_{name}", address)
    monkeypatch.setattr("sys.stdin", _Terminal(io.BytesIO(typed)))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert run(ERASE) == code
    printed = capsys.readouterr().err
    for part in (
        said,
        NOBODY,
        "cannot be undone",
        "at once",
        *(what for _, what in removal_times()),
    ):
        assert part in printed


def test_the_bounds_of_an_erasure_are_those_of_the_topics() -> None:
    """Every topic with personal data is named, in the order in which they are cleaned."""
    told = list(removal_times())
    for topic in (EVENTS, EMAILS, HISTORY, COMMANDS, HOPS):
        assert any(topic.name in what for _, what in told)
    assert [bound for bound, _ in told] == [
        "at once",
        *["within 30 hours"] * 2,
        *["within 8 days"] * 2,
        "within 31 days",
    ]
