"""What only the handler can reject, and the rejected lines of an import."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.topics import OUTCOMES
from tests.observed.log import read
from tests.started.processes import Rollbook, RunningProcess
from tests.unit.producers.cli.bad_input import (
    CHANGE,
    END,
    ERASE,
    HEADER,
    MOVE,
    NEW,
    SECRET,
    TEN_MEGABYTES,
    Case,
    Ended,
    body,
    flaws,
    run_here,
)


@pytest.fixture
def here(
    rollbook: Rollbook, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> Callable[..., Ended]:
    """Run a command line in this process, with the settings of the test."""

    def go(case: Case, *options: str) -> Ended:
        with monkeypatch.context() as patched:
            for name, value in rollbook.environment().items():
                patched.setenv(name, value)
            return run_here(case, options, patched, capfdbinary)

    return go


def test_a_rejection_by_the_handler_prints_its_outcome(
    handler: RunningProcess, rollbook: Rollbook, here: Callable[..., Ended]
) -> None:
    """With --json the outcome is on stdout, the reason with a next step on stderr.

    Outcomes are kept for days, so they name users by id only.
    """
    user_id = rollbook.json(*NEW, stdin=body(command_id="used"))["user_id"]
    twice = body(email=f"{SECRET.upper()}@EXAMPLE.com")
    conflict, seventh = b'{"age": 5, "expected_version": 7}', b'{"expected_version": 7}'
    update = ("users", "update", user_id)
    for case, holder in (
        (Case(NEW, 3, "user_already_exists", twice, named=(user_id,)), user_id),
        (Case(NEW, 3, "command_id_reused", body(age=9, command_id="used")), None),
        (Case(CHANGE, 3, "user_not_found", b'{"age": 5}'), None),
        (Case((*update, "-"), 3, "version_conflict", conflict, named=("version 1",)), user_id),
        (Case((*update, "--age", "5", "--expected-version", "7"), 3, "version_conflict"), user_id),
        (Case(MOVE, 3, "user_not_found", b'{"email": "new@example.com"}'), None),
        (Case(END, 3, "user_not_found", b"{}"), None),
        (Case(ERASE, 3, "user_not_found", b"{}"), None),
        (Case(("users", "delete", user_id, "-"), 3, "version_conflict", seventh), user_id),
    ):
        assert list(flaws(case, here)) == []
        outcome = json.loads(here(case, "--json").stdout)
        assert (outcome["status"], outcome["code"]) == ("rejected", case.code)
        assert outcome["user_id"] == holder
    unknown = Case(("commands", "show", "never-sent"), 3, "command_not_found")
    assert list(flaws(unknown, here)) == []
    again = json.loads(rollbook.run("users", "update", user_id, "--age", "34", "--json").stdout)
    assert (again["status"], again["version"]) == ("accepted", 1)
    outcomes = list(read(rollbook.settings, OUTCOMES))
    assert SECRET not in f"{outcomes}{handler.text()}".lower()


def test_an_import_lists_bad_lines_without_their_content(
    handler: RunningProcess, rollbook: Rollbook, tmp_path: Path
) -> None:
    """Line, code and message of each; the good lines between them are imported.

    A corrected line is a new command, and without rejects their file is removed.
    """
    bad = {
        f"{SECRET}@@example.com,{SECRET},1": "invalid_command",
        f"{SECRET}@example.com,{SECRET},151": "invalid_command",
        f"{SECRET}@example.com,{SECRET},-1": "invalid_command",
        f"{SECRET}@example.com,{SECRET},12.5": "invalid_command",
        f"{SECRET}@example.com,{SECRET},": "invalid_command",
        f"{SECRET}@example.com,   ,1": "invalid_command",
        f"{SECRET}@example.com,{SECRET}\x07,1": "invalid_command",
        f"{SECRET}@example.com,{SECRET}": "malformed_line",
        f"{SECRET}@example.com,{SECRET},1,1": "malformed_line",
        f'{SECRET}@example.com,"{SECRET},1': "malformed_line",
        f"{SECRET}@example.com,{TEN_MEGABYTES},1": "line_too_long",
        f'{SECRET}@example.com,"{TEN_MEGABYTES}",1': "line_too_long",
        f"{SECRET}@example.com,{SECRET}\udcff,1": "not_utf8",
    }
    lines = [line for number, it in enumerate(bad) for line in (it, f"ok{number}@example.com,A,1")]
    file = tmp_path / "people.csv"
    file.write_bytes(HEADER + "\n".join(lines).encode(errors="surrogateescape"))
    done = rollbook.run("users", "import", str(file), "--json")
    rejects = (tmp_path / "people.csv.rejects.ndjson").read_text(encoding="utf-8")
    listed = [json.loads(line) for line in rejects.splitlines()]
    assert [(one["line"], one["code"]) for one in listed] == [
        (2 * number + 2, code) for number, code in enumerate(bad.values())
    ]
    totals = json.loads(done.stdout)
    assert (totals["created"], totals["rejected"]) == (len(bad), len(bad))
    assert (done.returncode, json.loads(done.stderr)["error"]["code"]) == (3, "import_rejects")
    assert SECRET not in rejects + done.stdout + done.stderr + handler.text()
    file.write_bytes(HEADER + f"ok0@example.com,A,1\n{SECRET}@example.com,{SECRET},15\n".encode())
    totals = rollbook.json("users", "import", str(file))
    assert (totals["created"], totals["already_there"]) == (1, 1)
    assert not (tmp_path / "people.csv.rejects.ndjson").exists()
