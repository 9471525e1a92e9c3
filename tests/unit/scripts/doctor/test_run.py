"""The checks run whatever one of them meets; the exit code says what was found."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

from runtime.settings import Settings
from schemas.errors import Forbidden, Misconfigured, Unavailable
from scripts import cli
from scripts.doctor import checks
from scripts.doctor.cli import exit_code
from scripts.doctor.finding import (
    Check,
    Examination,
    Finding,
    Group,
    Level,
    NotCheckable,
    Result,
    ok,
    optional_package,
    problem,
    warning,
)
from scripts.doctor.run import run_groups


def group(*raised: Exception | Finding, name: str = "server") -> Group:
    """Return a group whose checks a, b, … raise or find this."""

    def run(what: Exception | Finding) -> Iterator[Finding]:
        if isinstance(what, Exception):
            raise what
        yield what

    made = tuple(
        Check(chr(97 + number), "", lambda _facts, what=what: run(what))  # type: ignore[misc]
        for number, what in enumerate(raised)
    )
    return Group(name, lambda examination: examination, made)


def levels(*groups: Group) -> dict[str, Level]:
    return {one.check: one.finding.level for one in run_groups(Examination(Settings()), groups)}


def test_an_error_is_a_finding_and_the_other_checks_run() -> None:
    found = levels(
        group(
            Forbidden("no permission", next_step="grant it"),
            Misconfigured("no topic"),
            NotCheckable("the extra is missing"),
            ValueError("jane@example.com"),
            ok("fine"),
        )
    )
    missing, problem, fine = Level.NOT_CHECKED, Level.PROBLEM, Level.OK
    assert found == {"a": missing, "b": problem, "c": missing, "d": missing, "e": fine}


def test_an_unexpected_error_is_named_without_its_text() -> None:
    """The text may quote data."""
    [result] = run_groups(Examination(Settings()), [group(ValueError("jane@example.com"))])
    assert result.finding.message == "the check failed: ValueError"


def test_a_server_that_does_not_answer_is_asked_once() -> None:
    """The rest of its group is not checked; other groups are."""
    away = group(Unavailable("it is down", next_step="start it"), ok("never asked"))
    found = run_groups(Examination(Settings()), [away, group(ok("fine"), name="other")])
    assert [(one.group, one.check, str(one.finding.level)) for one in found] == [
        ("server", "a", "problem"),
        ("server", "b", "not checked"),
        ("other", "a", "ok"),
    ]
    assert found[0].finding.unreachable
    assert found[0].finding.remedy == "start it"


def test_what_matters_most_comes_first() -> None:
    found = run_groups(
        Examination(Settings()),
        [group(ok("x"), warning("x", "y")), group(problem("x", "y"), name="o")],
    )
    assert [str(one.finding.level) for one in found] == ["problem", "warning", "ok"]


@pytest.mark.parametrize(
    ("finding", "code", "strict"),
    [
        (ok("x"), 0, 0),
        (Finding(Level.NOT_CHECKED, "x"), 0, 0),
        (warning("x", "y"), 0, 1),
        (problem("x", "y"), 1, 1),
        (replace(problem("x", "y"), unreachable=True), 5, 5),
    ],
)
def test_the_exit_code_says_what_was_found(finding: Finding, code: int, strict: int) -> None:
    found = [Result("g", "c", ok("x")), Result("g", "c", finding)]
    assert (exit_code(found, strict=False), exit_code(found, strict=True)) == (code, strict)


def test_the_command_prints_findings_for_people_and_for_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = group(ok("all is well"), warning("an index is odd", "drop it"))
    monkeypatch.setattr(checks, "GROUPS", (made,))
    command: Any = cli.rollbook
    shown = CliRunner().invoke(command, ["doctor"])
    assert shown.stdout == "! b: an index is odd\n    next: drop it\n"
    assert shown.stderr == "warning: 1, ok: 1\n"
    with_all = CliRunner().invoke(command, ["doctor", "--all"])
    assert "✓ a: all is well" in with_all.stdout
    lines = CliRunner().invoke(command, ["doctor", "--json"]).stdout.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"group": "server", "check": "b", "result": "warning", "message": "an index is odd"}
        | {"next": "drop it"},
        {"group": "server", "check": "a", "result": "ok", "message": "all is well", "next": ""},
    ]


def test_without_the_extra_a_check_says_what_to_install() -> None:
    with pytest.raises(NotCheckable) as missing:
        optional_package("no_such_package_of_ours")
    assert "pipx install" in missing.value.remedy
