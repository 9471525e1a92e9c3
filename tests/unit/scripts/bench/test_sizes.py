"""`rollbook bench sizes` without servers: its JSON object, its table, what it needs."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from runtime.terminal import EXIT_USAGE
from schemas.errors import Misconfigured
from scripts.bench.sizes import Sizes
from scripts.cli import rollbook


def test_every_figure_has_its_unit() -> None:
    found = Sizes(200_000, 8, {"cpus": 2})
    found.add("kafka user-events", "disk, MB per million users", 150.04)
    found.add("handler", "bytes per user", 1360.0)
    figures = {
        "disk, MB per million users": {"kafka user-events": 150.0},
        "bytes per user": {"handler": 1360.0},
    }
    assert found.as_json() == {
        "users": 200_000,
        "partitions": 8,
        "machine": {"cpus": 2},
        "figures": figures,
    }
    assert found.as_rows() == [
        ("kafka user-events, disk, MB per million users", "150.0"),
        ("handler, bytes per user", "1,360.0"),
    ]


def test_it_needs_the_files_of_the_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it creates anything."""
    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path))
    ended = CliRunner().invoke(rollbook, ["bench", "sizes"])
    assert isinstance(ended.exception, Misconfigured)
    assert ended.exception.code == "no_stack"
    assert CliRunner().invoke(rollbook, ["bench", "sizes", "--users", "5"]).exit_code == EXIT_USAGE
