"""The root command: fast help, examples for every command, exit codes and error format."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from runtime.command_line.terminal import json_option
from schemas import errors
from scripts import cli

# What takes long to import.
HEAVY = {"confluent_kafka", "psycopg", "elasticsearch", "fastavro", "email_validator"}

ERRORS: dict[str, tuple[Exception, int]] = {
    "check_failed": (errors.CheckFailed("x"), 1),
    "error": (errors.RollbookError("x"), 1),
    "fenced": (errors.Fenced("x"), 1),
    "poisoned": (errors.Poisoned("x"), 1),
    "misconfigured": (errors.Misconfigured("x"), 2),
    "rejected": (errors.Rejected("x"), 3),
    "not_in_time": (errors.NotInTime("x"), 4),
    "unavailable": (errors.Unavailable("x"), 5),
}


@click.command()
@click.argument("kind")
@json_option
def fail(kind: str, *, as_json: bool) -> int:
    """End with the given exit code or exception."""
    if kind in ERRORS:
        raise ERRORS[kind][0]
    if kind == "interrupt":
        raise KeyboardInterrupt
    return int(kind)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "fail", (f"{__name__}:fail", "End as asked."))


def leaves(command: click.Command, path: str, context: click.Context) -> Iterator[Any]:
    """Yield (path, command) of every command that can be called."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None, f"{path} {name} does not exist"
        yield from leaves(child, f"{path} {name}", click.Context(child, context, name))


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], HEAVY),
        # Without a token they need no Kafka, and no query needs the rules of addresses.
        (["users", "get", "--help"], {"confluent_kafka", "email_validator", "elasticsearch"}),
        (["users", "create", "--help"], {"email_validator", "psycopg", "elasticsearch"}),
    ],
)
def test_a_command_imports_only_what_it_needs(arguments: list[str], unwanted: set[str]) -> None:
    script = (
        "import sys\n"
        "from scripts.cli import run\n"
        f"assert run({arguments}) == 0\n"
        f"assert not {unwanted} & set(sys.modules), {unwanted} & set(sys.modules)\n"
    )
    root = Path(__file__).parents[3]
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=False
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("group", cli.COMMANDS)
def test_every_command_exists_and_is_explained(group: str) -> None:
    context = click.Context(cli.rollbook, info_name="rollbook")
    command = cli.rollbook.get_command(context, group)
    assert command is not None
    for path, leaf in leaves(command, f"rollbook {group}", context):
        text = leaf.get_help(click.Context(leaf, context, path.rpartition(" ")[2]))
        assert leaf.help, f"{path} has no help"
        assert "Example" in text, f"{path} has no example"
        assert path in text.split("Example", 1)[1], f"{path}'s example does not call it"
        for parameter in leaf.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{path} {parameter.opts[0]} has no help"


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_class_has_its_exit_code(
    failing: None, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A message for people, one JSON object for programs; stdout stays empty."""
    assert cli.run(["fail", kind]) == ERRORS[kind][1]
    assert capsys.readouterr() == ("", "error: x\n")
    assert cli.run(["fail", kind, "--json"]) == ERRORS[kind][1]
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err) == {"error": {"code": kind, "message": "x", "next": ""}}


def test_no_error_class_lacks_an_exit_code() -> None:
    known = {type(error) for error, _ in ERRORS.values()}
    kinds = {errors.RollbookError, *errors.RollbookError.__subclasses__()}
    assert {kind for kind in kinds if kind.__module__ == errors.__name__} == known


def test_exit_codes_without_an_error(failing: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Success is 0, a command may return another code, an interrupt is 130."""
    assert cli.run(["fail", "0"]) == 0
    assert cli.run(["fail", "3"]) == 3
    assert cli.run(["fail", "interrupt"]) == 130
    assert cli.run(["--version"]) == 0
    assert cli.run(["fail", "--help"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["fail"], ["fail", "0", "--nonsense"], ["fail", "0", "more"], ["n\udcff"]],
)
def test_wrong_usage_exits_with_2(
    failing: None, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown commands and options, missing and surplus arguments: 2, with `--json` as well."""
    assert cli.run(arguments) == 2
    assert capsys.readouterr().err
    assert cli.run([*arguments, "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["error"]["code"] == "usage"


@pytest.mark.parametrize("arguments", [["user"], ["users", "serach"], ["projector", "rebiuld"]])
def test_a_misspelt_command_gets_a_suggestion(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 2
    assert "Did you mean" in capsys.readouterr().err


def test_config_show_never_shows_a_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A password is shown as `(set)`, in the table and in JSON."""
    monkeypatch.setenv("ROLLBOOK_POSTGRES_PASSWORD", "hunter2")
    for arguments in (["config", "show"], ["config", "show", "--json"]):
        assert cli.run(arguments) == 0
        out = capsys.readouterr().out
        assert "hunter2" not in out
        assert "(set)" in out
