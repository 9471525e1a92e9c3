"""`rollbook bench sizes` without servers: its JSON object, its table, what it needs."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from runtime.terminal import EXIT_USAGE
from schemas.errors import Misconfigured
from scripts.bench.sizes import Sizes
from scripts.cli import rollbook


def test_disk_is_shown_per_million_users() -> None:
    """Bytes per user are megabytes per million users."""
    found = Sizes(200_000, 8, {"cpus": 2})
    found.disk_bytes["kafka user-events"] = 30_000_000
    found.memory_mb["handler"] = 123.4
    found.seconds["handler restore"] = 2.345
    found.bytes_per_user, found.bytes_per_command_id = 360.4, 61.0
    assert found.as_json() == {
        "users": 200_000,
        "partitions": 8,
        "machine": {"cpus": 2},
        "disk_mb_per_million": {"kafka user-events": 150.0},
        "memory_mb": {"handler": 123},
        "seconds": {"handler restore": 2.3},
        "handler_bytes_per_user": 360,
        "handler_bytes_per_command_id": 61,
    }
    assert found.as_rows() == [
        ("kafka user-events: disk, MB per million users", "150.0"),
        ("handler: resident memory, MB", "123"),
        ("handler restore: seconds", "2.3"),
        ("handler: bytes per user", "360"),
        ("handler: bytes per remembered command id", "61"),
    ]


def test_it_needs_the_files_of_the_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it creates anything."""
    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path))
    ended = CliRunner().invoke(rollbook, ["bench", "sizes"])
    assert isinstance(ended.exception, Misconfigured)
    assert ended.exception.code == "no_stack"
    assert CliRunner().invoke(rollbook, ["bench", "sizes", "--users", "5"]).exit_code == EXIT_USAGE
