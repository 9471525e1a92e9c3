"""The root command: fast help, an example for everything, one contract of exit codes and errors."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from runtime.terminal import json_option
from schemas import errors
from scripts import cli
from scripts.lazy import LazyGroup

ERRORS: dict[str, tuple[Exception, int]] = {
    "check_failed": (errors.CheckFailed("x"), 1),
    "fenced": (errors.Fenced("x"), 1),
    "misconfigured": (errors.Misconfigured("x"), 2),
    "rejected": (errors.Rejected("x"), 3),
    "not_in_time": (errors.NotInTime("x"), 4),
    "unavailable": (errors.Unavailable("x"), 5),
}


@click.command()
@click.argument("kind")
@json_option
def fail(kind: str, *, as_json: bool) -> int:
    """End as asked."""
    if kind in ERRORS:
        raise ERRORS[kind][0]
    if kind == "interrupt":
        raise KeyboardInterrupt
    return int(kind)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "fail", (f"{__name__}:fail", "End as asked."))


def leaves(command: click.Command, path: str, context: click.Context) -> Iterator[Any]:
    """Yield (path, command) of everything that can be called."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None, f"{path} {name} does not exist"
        yield from leaves(child, f"{path} {name}", click.Context(child, context, name))


def test_help_imports_no_client() -> None:
    """`rollbook --help` stays fast because it imports no client of any server."""
    script = (
        "import sys\n"
        "from scripts.cli import run\n"
        "assert run(['--help']) == 0\n"
        "heavy = {'confluent_kafka', 'psycopg', 'elasticsearch', 'fastavro', 'email_validator'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    root = Path(__file__).parents[3]
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=False
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("group", cli.COMMANDS)
def test_every_command_exists_and_is_explained(group: str) -> None:
    """Each command has help, each of its options has help, and an example can be copied."""
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


def test_a_lazy_groups_line_is_there_for_every_command() -> None:
    """The group's help is printed from its table: no line is empty."""
    for line in cli.COMMANDS.values():
        assert line[1].endswith(".")
    assert isinstance(cli.rollbook, LazyGroup)


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_class_has_its_exit_code(
    failing: None, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """For people a sentence on stderr; the code is the contract's; stdout stays empty."""
    assert cli.run(["fail", kind]) == ERRORS[kind][1]
    assert capsys.readouterr() == ("", "error: x\n")


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_class_has_its_json(
    failing: None, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """For programs `{"error": {code, message, next}}` on stderr, nothing else."""
    assert cli.run(["fail", kind, "--json"]) == ERRORS[kind][1]
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err) == {"error": {"code": kind, "message": "x", "next": ""}}


def test_the_other_ends(failing: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Done is 0, a command's own code is kept, an interrupt is 130."""
    assert cli.run(["fail", "0"]) == 0
    assert cli.run(["fail", "3"]) == 3
    assert cli.run(["fail", "interrupt"]) == 130
    assert cli.run(["--version"]) == 0
    assert cli.run(["fail", "--help"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["fail"], ["fail", "0", "--nonsense"], ["fail", "0", "more"], ["n\udcff"]],
)
def test_wrong_usage_is_2(
    failing: None, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown commands, options, too few or too many arguments: 2, in JSON as well."""
    assert cli.run(arguments) == 2
    assert capsys.readouterr().err
    assert cli.run([*arguments, "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["error"]["code"] == "usage"


def test_a_missing_configuration_is_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A file named but absent stops the command before it does anything."""
    assert cli.run(["--config", "missing.toml", "config", "show", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "bad_setting"


def test_config_show_never_shows_a_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A password is `(set)`, in the table and in JSON."""
    monkeypatch.setenv("ROLLBOOK_POSTGRES_PASSWORD", "hunter2")
    for arguments in (["config", "show"], ["config", "show", "--json"]):
        assert cli.run(arguments) == 0
        out = capsys.readouterr().out
        assert "hunter2" not in out
        assert "(set)" in out
