"""`rollbook bench sizes` without servers: its JSON object, its table, what it needs."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from runtime.command_line.terminal import EXIT_USAGE
from schemas.errors import Misconfigured
from scripts.bench.report.sizes import memory_picture, size_tables, sizes_picture
from scripts.bench.sizes import Sizes, SizesByUsers
from scripts.bench.workload import memory
from scripts.bench.workload.memory import memory_over_time
from scripts.bench.workload.processes import running
from scripts.cli import rollbook
from tests.started.processes import eventually


def one_run(users: int, seconds: float) -> Sizes:
    found = Sizes(users)
    found.add("handler creates all", "seconds", seconds)
    found.add("kafka user-events", "disk, MB per million users", 150.04)
    found.add("handler", "bytes per user", 1360.0)
    found.memory_over_time["handler"] = [(0.0, 50.0), (0.5, 75.0), (1.0, 70.0)]
    return found


FOUND = SizesByUsers(8, {"cpus": 2}, [one_run(10_000, 0.5), one_run(100_000, 8)])


def test_every_figure_has_its_unit() -> None:
    found = FOUND.as_json()
    assert found | {"sizes": []} == {"partitions": 8, "machine": {"cpus": 2}, "sizes": []}
    assert found["sizes"][1] == {
        "users": 100_000,
        "figures": {
            "seconds": {"handler creates all": 8},
            "disk, MB per million users": {"kafka user-events": 150.0},
            "bytes per user": {"handler": 1360.0},
        },
        "memory_over_time": {"handler": [(0.0, 50.0), (0.5, 75.0), (1.0, 70.0)]},
    }
    assert FOUND.as_rows() == [
        ("handler creates all, seconds", "0.5", "8"),
        ("kafka user-events, disk, MB per million users", "150.0", "150.0"),
        ("handler, bytes per user", "1,360.0", "1,360.0"),
    ]


def test_times_are_shown_for_as_many_users() -> None:
    """So that a line that rises shows a cost that grows faster than the users."""
    text = size_tables(FOUND.as_json())["sizes"]
    assert "| handler creates all, s per million users | 50 | 80 |" in text
    assert "| measured | 10,000 users | 100,000 users |" in text
    picture = sizes_picture(FOUND.as_json())
    ET.fromstring(picture)  # noqa: S314 - our own
    assert "s per million users: 50, 80" in picture


def test_memory_is_drawn_over_time() -> None:
    picture = memory_picture(FOUND.as_json())
    ET.fromstring(picture)  # noqa: S314 - our own
    assert "1 s; at most 75 MB, last 70" in picture
    assert "with 100,000 users" in picture


def test_memory_is_sampled_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long run has no more points than a short one, and a process that has ended gets none."""
    monkeypatch.setattr(memory, "_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(memory, "_MOST_POINTS", 4)
    with running(["sleep", "60"]) as lasting, running(["true"]) as ended:
        ended.process.wait()
        with memory_over_time({"lasting": lasting, "ended": ended}) as series:
            eventually(lambda: [at for at, _ in series["lasting"] if at > 0.2])
    assert series["ended"] == []
    assert len(series["lasting"]) <= 4
    assert all(mb > 0 for _, mb in series["lasting"])
    assert series["lasting"] == sorted(series["lasting"])


def test_it_needs_the_files_of_the_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it creates anything."""
    monkeypatch.setenv("ROLLBOOK_STACKS", str(tmp_path))
    ended = CliRunner().invoke(rollbook, ["bench", "sizes"])
    assert isinstance(ended.exception, Misconfigured)
    assert ended.exception.code == "no_stack"
    assert CliRunner().invoke(rollbook, ["bench", "sizes", "--users", "5"]).exit_code == EXIT_USAGE
