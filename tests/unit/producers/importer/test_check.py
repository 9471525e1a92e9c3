"""A dry run reports what an import would do: new users, repeated and rejected lines."""

import gzip
import json
from io import BytesIO
from pathlib import Path

import pytest

from producers.importer.check import MOST_SHOWN, UserCheck
from producers.importer.lines import read_users
from producers.importer.source import Source
from scripts import cli

HEADER = "email,name,age\n"


def check(text: str, most_remembered: int = 1_000) -> tuple[UserCheck, list[tuple[int, str]]]:
    rejects: list[tuple[int, str]] = []
    running = UserCheck(
        lambda number, code, _message: rejects.append((number, code)),
        most_remembered=most_remembered,
    )
    assert running.run(read_users(Source(BytesIO(text.encode())), None))
    return running, rejects


def test_every_line_is_counted_once() -> None:
    """As importable, repeated, conflicting or rejected."""
    running, rejects = check(
        HEADER
        + "a@example.com,A,1\n"
        + " a@example.com , A ,1\n"
        + "A@EXAMPLE.com,A,1\n"
        + "a@example.com,A,2\n"
        + "b@@example.com,B,1\n"
        + "b@example.com,B\n"
        + "b@example.com,B,1\n"
    )
    totals = running.totals
    assert rejects == [(6, "invalid_command"), (7, "malformed_line")]
    assert (totals.importable, totals.repeated_lines, totals.conflicting_lines) == (2, 1, 2)
    assert (totals.lines, totals.decided, totals.rejected, totals.not_remembered) == (7, 7, 2, 0)
    assert totals.conflicts == [(4, 2), (5, 2)]


def test_memory_is_bounded_and_the_totals_show_the_limit() -> None:
    """Later lines are still compared with the addresses that are remembered."""
    file = HEADER + "".join(f"u{n}@example.com,U,1\n" for n in range(10))
    running, _ = check(file + "u1@example.com,U,1\nu8@example.com,U,1\n", most_remembered=4)
    assert (running.totals.repeated_lines, running.totals.not_remembered) == (1, 7)


def test_only_the_first_conflicts_are_listed() -> None:
    """They are a hint, not a second list of rejects."""
    text = HEADER + "".join(f"a@example.com,A,{n}\n" for n in range(100))
    running, _ = check(text)
    assert running.totals.conflicting_lines == 99
    assert len(running.totals.conflicts) == MOST_SHOWN


@pytest.fixture
def no_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Settings under which any server would be unavailable."""
    monkeypatch.setenv("ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.setenv("ROLLBOOK_REGISTRY_URL", "http://127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_dry_run_needs_no_server(no_servers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0 with totals for a good file, 3 with a list of rejects for a bad line."""
    file = no_servers / "people.csv"
    file.write_bytes(gzip.compress(f"{HEADER}a@example.com,A,1\n".encode()))
    assert cli.run(["users", "import", "people.csv", "--dry-run", "--json"]) == 0
    totals = json.loads(capsys.readouterr().out)
    assert (totals["dry_run"], totals["importable"], totals["rejects_file"]) == (True, 1, None)
    file.write_text(f"{HEADER}a@example.com,A,1\nA@example.com,A,1\nsecret@example.com,A,x\n")
    assert cli.run(["users", "import", "people.csv", "--dry-run"]) == 3
    out, err = capsys.readouterr()
    assert "rejected           1" in out
    assert "line 3 differs from line 2" in err
    listed = Path("people.csv.rejects.ndjson").read_text()
    assert json.loads(listed)["line"] == 4
    assert "secret" not in out + err + listed


def test_a_broken_file_is_a_failure(no_servers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 after the totals, with the position where the file broke."""
    text = HEADER + "".join(f"u{n}@example.com,U,1\n" for n in range(5_000))
    Path("people.csv.gz").write_bytes(gzip.compress(text.encode())[:-2_000])
    assert cli.run(["users", "import", "people.csv.gz", "--dry-run", "--json"]) == 1
    out, err = capsys.readouterr()
    error = json.loads(err)["error"]
    assert error["code"] == "broken_gzip"
    assert f"after {json.loads(out)['lines'] + 1} whole lines" in error["message"]
    assert "creates no user twice" in error["next"]
