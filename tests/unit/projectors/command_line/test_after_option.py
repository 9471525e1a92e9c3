"""Values of `--after` and `--timeout` that a query refuses before it connects to a server."""

import json

import click
import pytest

from projectors.command_line.after_option import wait_for_token
from scripts.cli import run
from scripts.users import users

USER_ID = "018bcfe5-6800-7abc-8000-000000000000"
QUERIES = [
    ["get", USER_ID],
    ["get", USER_ID, "--at-version", "1"],
    ["list"],
    ["summary"],
    ["export"],
    ["history", USER_ID],
    ["search", "jane"],
    ["suggest", "ja"],
]


@pytest.mark.parametrize("query", QUERIES, ids=" ".join)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--after", ""], "partition:seq"),
        (["--after", "jane"], "partition:seq"),
        (["--after", "1:2:3"], "partition:seq"),
        (["--after", "1:2,\udcff"], "partition:seq"),
        (["--after", "4:1"], "names partition 4; this registry has partitions 0 to 3"),
        (["--after", "0:7,4095:1"], "names partition 4095"),
        (["--after", "1:2", "--timeout", "-1"], "--timeout"),
        (["--after", "1:2", "--timeout", "nan"], "--timeout"),
        (["--after"], "--after"),
    ],
)
def test_an_invalid_token_is_a_usage_error(
    query: list[str],
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In every query; the message says what a token looks like."""
    monkeypatch.setenv("ROLLBOOK_PARTITIONS", "4")
    assert run(["users", *query, *options, "--json"]) == 2
    out, err = capsys.readouterr()
    assert (out, message in json.loads(err)["error"]["message"]) == ("", True), err


def test_only_a_query_with_a_token_waits() -> None:
    """Without a token not even the name of the read model is looked up."""

    def fail(_options: object) -> str:
        raise AssertionError

    decorated = wait_for_token(fail)(lambda _settings, **given: given)
    assert decorated(None, token=None, timeout_seconds=1, limit=3) == {"limit": 3}


def test_every_query_takes_a_token_and_every_command_can_wait() -> None:
    """Every command has the option."""
    context = click.Context(users)
    queries = set()
    for name in users.list_commands(context):
        command = users.get_command(context, name)
        assert command is not None
        options = {option for parameter in command.params for option in parameter.opts}
        assert ("--after" in options) != ("--wait" in options), name
        assert "--timeout" in options
        if "--after" in options:
            queries.add(name)
    assert queries == {query[0] for query in QUERIES}
