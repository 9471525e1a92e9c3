"""`rollbook keys`, as whoever runs a service uses it."""

import json
from pathlib import Path
from typing import Any

import pytest

from runtime.callers.key_file import matching, read_keys
from scripts.cli import run


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the file that the setting names; nothing is there yet."""
    path = tmp_path / "keys.json"
    monkeypatch.setenv("ROLLBOOK_HTTP_KEYS_FILE", str(path))
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[Any]:
    assert run(["keys", *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_key_is_shown_once_and_can_be_revoked(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (made,) = printed(capsys, "create", "shop", "--scope", "commands", "--days", "90", "--json")
    assert matching(read_keys(path), made["key"])
    (listed,) = printed(capsys, "list", "--json")
    assert (listed["name"], listed["scopes"], listed["state"]) == ("shop", ["commands"], "active")
    assert listed["expires_at"] == made["expires_at"]
    assert made["key"] not in json.dumps(listed)
    printed(capsys, "revoke", made["id"])
    (revoked,) = printed(capsys, "list", "--json")
    assert revoked["state"] == "revoked"


def test_a_key_may_not_erase_or_operate_unless_it_is_told(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (made,) = printed(capsys, "create", "shop", "--json")
    assert made["scopes"] == ["commands", "queries"]
    assert made["expires_at"] is None
    assert path.exists()


def test_keys_need_a_place(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROLLBOOK_HTTP_KEYS_FILE", raising=False)
    assert run(["keys", "create", "shop", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "no_keys_file"
    monkeypatch.setenv("ROLLBOOK_HTTP_KEYS_FILE", "/nowhere/keys.json")
    assert run(["keys", "list", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "bad_keys_file"
