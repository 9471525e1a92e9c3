"""The output of commands: safe on a terminal, complete in a pipe, errors in one format."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.command_line.terminal import (
    Marked,
    print_error,
    print_fields,
    print_json,
    print_table,
)
from runtime.printable import printable
from schemas import errors


def test_an_error_for_people_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(errors.Unavailable("Kafka is away", next_step="start it"), as_json=False)
    assert capsys.readouterr() == ("", "error: Kafka is away\n  next: start it\n")


def test_json_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A record with newlines and other scripts is one line of UTF-8."""
    print_json({"name": "山田\n", "age": 3, "none": None})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"name": "山田\n", "age": 3, "none": None}


def test_fields_are_aligned_and_missing_ones_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """A field with the value 0 is shown, one without a value is not."""
    print_fields({"id": "x", "age": 0, "code": None, "status": "accepted"})
    assert capsys.readouterr().out == "id      x\nage     0\nstatus  accepted\n"
    print_fields({"dry_run": True, "live": False})
    assert capsys.readouterr().out == "dry_run  yes\nlive     no\n"
    print_fields({})
    assert capsys.readouterr().out == ""


def test_a_piped_table_is_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    """One line per row, and no cell can break its line: tools like `cut` work."""
    print_table(["name", "age"], [("a\tb\nc", 3), ("d", None)])
    assert capsys.readouterr().out == "name\tage\na\\tb\\nc\t3\nd\t\n"


def test_marks_are_highlighted_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every second piece is highlighted; control characters in it are escaped."""
    rows = [[Marked(("", "Jane", " D\x1boe"))]]
    print_table(["name"], rows)
    assert capsys.readouterr().out == "name\nJane D\\x1boe\n"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(["name"], rows)
    assert "\x1b[1;33mJane\x1b[0m D\\x1boe" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["علی\u200cرضا", "山田\u3000太郎", "José\u00a0Ruiz", "Zoë"])
def test_names_are_shown_as_they_are_written(name: str) -> None:
    """Joiners and the spaces of other scripts are parts of names."""
    assert printable(name) == name


def test_stored_text_cannot_control_a_terminal() -> None:
    """Escape sequences, newlines and direction overrides are shown, not executed."""
    assert printable("\x1b[2J") == "\\x1b[2J"
    assert printable("a\nb\u202ec") == "a\\nb\\u202ec"


@given(st.text())
def test_printable_text_has_no_controls(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown
    assert shown.isprintable() or any(not c.isprintable() for c in text)
