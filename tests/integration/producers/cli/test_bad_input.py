"""Bad input gets a clear refusal that repeats nothing of it."""

import json
import sys
from collections.abc import Callable, Iterator
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from scripts.cli import run
from tests.integration.producers.cli.bad_input import (
    CHANGE,
    END,
    ERASE,
    FIELDS,
    FILES,
    HEADER,
    LINES,
    MOVE,
    NEW,
    SECRET,
    SETTINGS,
    TEN_MEGABYTES,
    Case,
    body,
    usage,
)
from tests.processes import Rollbook, RunningProcess


class Ended(NamedTuple):
    """The exit code of a command and everything it printed."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@pytest.fixture
def here(
    rollbook: Rollbook, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> Callable[[Case], Ended]:
    """Run a command line as `rollbook` does, but in this process: a hundred take seconds.

    An unexpected error, which users would see as a traceback, fails the test.
    """

    def go(case: Case, *options: str) -> Ended:
        with monkeypatch.context() as patched:
            patched.chdir(rollbook.directory)
            for name, value in {**rollbook.environment(), **case.environment}.items():
                patched.setenv(name, value)
            patched.setattr(sys, "stdin", TextIOWrapper(BytesIO(case.stdin)))
            capfdbinary.readouterr()
            code = run([*case.arguments, *options])
            return Ended(code, *capfdbinary.readouterr())

    return go


def flaws(case: Case, go: Callable[..., Ended]) -> Iterator[str]:
    """Yield how a refusal breaks the contract."""
    try:
        ended, said = go(case, "--json"), go(case)
    except Exception as raised:  # noqa: BLE001 - any of them would be a traceback
        yield f"raised {raised!r:.200}"
        return
    told = ended.stderr.decode()
    if (ended.exit_code, said.exit_code) != (case.exit_code, case.exit_code):
        yield f"ended with {ended.exit_code} and {said.exit_code}: {told + said.stderr.decode()}"
    if SECRET in (told + said.stderr.decode() + said.stdout.decode()).lower():
        yield "repeats personal data"
    try:
        [error] = json.loads(told).values()
    except ValueError:
        error = {}
    if list(error) != ["code", "message", "next"] or error["code"] != case.code:
        yield f"is told as {error}"
    missing = [name for name in case.named if name not in " ".join(error.values())]
    if missing:
        yield f"does not name {missing}: {error}"


@pytest.mark.parametrize("cases", [FIELDS, LINES, SETTINGS], ids=["fields", "lines", "settings"])
def test_bad_options_input_and_settings_are_refused(
    cases: list[Case], here: Callable[..., Ended]
) -> None:
    """With the right exit code and one JSON object, no traceback and no personal data."""
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


def test_a_rejection_by_the_handler_prints_its_outcome(
    handler: RunningProcess, rollbook: Rollbook, here: Callable[..., Ended]
) -> None:
    """With --json the outcome is on stdout, the reason with a next step on stderr."""
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


def test_an_import_lists_bad_lines_without_their_content(
    handler: RunningProcess, rollbook: Rollbook, tmp_path: Path
) -> None:
    """Line, code and message of each; the good lines between them are imported."""
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


@pytest.mark.parametrize(
    ("content", "options"),
    [(b"", ()), (b"e-mail;name\n", ()), (b"[]", ()), (b"\xff\xfee\0", ()), (b"\0\0", ()),
     (HEADER, ("--rejects", "/n/x")), (HEADER, ("--format", "xml")), (HEADER, ("--in-flight", "0")),
     (HEADER, ("--timeout", "nan"))],
)  # fmt: skip
def test_a_file_that_is_not_a_table_of_people_is_refused(
    here: Callable[..., Ended], tmp_path: Path, content: bytes, options: tuple[str, ...]
) -> None:
    """Exit 2 before anything is sent."""
    file = tmp_path / "people.csv"
    file.write_bytes(content)
    code = "usage" if options else "unreadable_file"
    assert list(flaws(Case(("users", "import", str(file), *options), 2, code), here)) == []
    for nowhere in (tmp_path, tmp_path / "none"):
        assert list(flaws(usage("users", "import", str(nowhere)), here)) == []
