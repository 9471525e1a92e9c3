"""What the sending commands refuse without a server, and without repeating it."""

import io
import json
from typing import Protocol

import pytest

from producers.cli.change import what_goes_when
from schemas.topics import COMMANDS, EMAILS, EVENTS, HISTORY, HOPS
from scripts.cli import run

USER_ID = "018bcfe5-6800-7abc-8000-000000000000"
CREATE = ["users", "create"]
UPDATE = ["users", "update", USER_ID]
CHANGE_EMAIL = ["users", "change-email", USER_ID]
DELETE = ["users", "delete", USER_ID]
ERASE = ["users", "erase", USER_ID]


class Refused(Protocol):
    """Runs a command that must print no result; returns its exit code and error message."""

    def __call__(self, arguments: list[str], stdin: bytes = b"") -> tuple[int, str]:
        """Run `rollbook` with `arguments`."""
        ...


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """A function that runs a command which must fail."""

    def call(arguments: list[str], stdin: bytes = b"") -> tuple[int, str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = run([*arguments, "--json"])
        captured = capsys.readouterr()
        assert not captured.out
        return code, json.loads(captured.err)["error"]["message"]

    return call


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (CREATE, "give --email"),
        ([*CREATE, "--email", "a@example.com", "--name", "A"], "give --email"),
        ([*CREATE, "-", "--age", "3"], "not both"),
        ([*CREATE, "--email", "a@example.com", "--name", "A", "--age", "12.5"], "integer"),
        ([*CREATE, "--command-id", "two words"], "command id"),
        ([*CREATE, "--timeout", "0"], "--timeout"),
        ([*CREATE, "file.json"], "file.json"),
        (UPDATE, "nothing to update"),
        ([*UPDATE, "--expected-version", "3"], "nothing to update"),
        ([*UPDATE, "--age", "3", "--expected-version", "0"], "expected-version"),
        (["users", "update", "nobody", "--age", "3"], "not a UUID"),
        (CHANGE_EMAIL, "give --email"),
        ([*CHANGE_EMAIL, "-", "--email", "a@example.com"], "not both"),
        ([*CHANGE_EMAIL, "--expected-version", "0"], "expected-version"),
        (["users", "change-email", "nobody", "--email", "a@example.com"], "not a UUID"),
        (["users", "delete", "nobody"], "not a UUID"),
        ([*DELETE, "--command-id", ""], "command id"),
        ([*DELETE, "-", "--expected-version", "2"], "not both"),
        (ERASE, "--yes"),
        ([*ERASE, "-"], "--yes"),
        (["users", "erase", "nobody", "--yes"], "not a UUID"),
        (["commands", "show", "two words"], "command id"),
        (["users", "import", "."], "directory"),
        (["users", "import", "none.csv"], "does not exist"),
        (["users", "import", "-", "--in-flight", "0"], "--in-flight"),
        (["users", "import", "-", "--dry-run", "--wait", "postgres"], "nothing to wait for"),
        (["users", "import", "-", "--wait", "mongodb"], "no read model mongodb"),
        ([*DELETE, "--wait", ""], "joined by commas"),
        ([*DELETE, "--wait", "postgres,,history"], "joined by commas"),
        ([*DELETE, "--wait", "postgres,mongodb"], "no read model mongodb"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_why(
    arguments: list[str], message: str, refused: Refused
) -> None:
    """Before it connects to any server."""
    code, said = refused(arguments)
    assert code == 2
    assert message in said


@pytest.mark.parametrize(
    ("arguments", "content", "code", "message"),
    [
        (CREATE, b"", 2, "empty"),
        (CREATE, b"{", 2, "valid JSON"),
        (CREATE, b"{} {}", 2, "valid JSON"),
        (CREATE, b'{"name": "\\ud800"}', 2, "valid JSON"),
        (CREATE, b'{"name": "\xff"}', 2, "valid JSON"),
        (CREATE, b"[]", 2, "no object"),
        (CREATE, b'{"e-mail": "secret@example.com"}', 2, "another field"),
        (CREATE, b" " * (16 * 1024 * 1024 + 1), 2, "16 MiB"),
        (CREATE, b'{"email": "secret@example.com", "name": "A"}', 3, "age"),
        (CREATE, b'{"email": "secret@example.com", "name": 5, "age": 3}', 3, "name"),
        (CREATE, b'{"email": "secret@@example.com", "name": "A", "age": 3}', 3, "e-mail"),
        (UPDATE, b'{"email": "secret@example.com"}', 2, "another field"),
        (UPDATE, b"{}", 2, "nothing to update"),
        (UPDATE, b'{"age": 3, "expected_version": "2"}', 3, "expected version"),
        (UPDATE, b'{"name": "' + b"x" * 10_000_000 + b'"}', 3, "longer than 200"),
        (CHANGE_EMAIL, b"{}", 3, "e-mail"),
        (CHANGE_EMAIL, b'{"email": "secret@@example.com"}', 3, "e-mail"),
        (CHANGE_EMAIL, b'{"name": "secret"}', 2, "another field"),
        (DELETE, b'{"email": "secret@example.com"}', 2, "another field"),
        (DELETE, b'{"expected_version": 0}', 3, "expected version"),
        ([*ERASE, "--yes"], b'{"expected_version": true}', 3, "expected version"),
    ],
)
def test_a_bad_object_on_stdin_is_refused_without_repeating_it(
    arguments: list[str],
    content: bytes,
    code: int,
    message: str,
    refused: Refused,
) -> None:
    """Exit 2 if it is not an object of these fields, 3 if a field breaks a rule."""
    ended, said = refused([*arguments, "-"], content)
    assert (ended, message in said) == (code, True), said
    assert "secret" not in said


def test_two_different_command_ids_are_refused(refused: Refused) -> None:
    """One in the option, another in the object."""
    content = b'{"command_id": "a", "email": "a@example.com", "name": "A", "age": 3}'
    code, said = refused([*CREATE, "-", "--command-id", "b"], content)
    assert (code, "two command ids" in said) == (2, True)


class _Terminal(io.TextIOWrapper):
    """A standard stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_an_erasure_asks_on_a_terminal_and_obeys_a_no(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It first says what is removed when; after a no it sends nothing and ends with 3."""
    monkeypatch.setattr("sys.stdin", _Terminal(io.BytesIO(b"n\n")))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert run(ERASE) == 3
    said = capsys.readouterr().err
    assert "nothing was erased" in said
    for part in (USER_ID, "cannot be undone", "at once", *(what for _, what in what_goes_when())):
        assert part in said


def test_the_bounds_of_an_erasure_are_those_of_the_topics() -> None:
    """Every topic with personal data is named, in the order in which they are cleaned."""
    told = list(what_goes_when())
    for topic in (EVENTS, EMAILS, HISTORY, COMMANDS, HOPS):
        assert any(topic.name in what for _, what in told)
    assert [bound for bound, _ in told] == [
        "at once",
        *["within 30 hours"] * 2,
        *["within 8 days"] * 2,
        "within 31 days",
    ]
