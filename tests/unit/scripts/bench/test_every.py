"""`rollbook bench all` without servers: its parts exist, and its object loses nothing."""

import click
import pytest

from scripts.bench import every
from scripts.bench.cli import bench
from scripts.bench.report.measure import machine


@pytest.mark.parametrize("parts", [every.PARTS, every.SHORT])
def test_every_part_is_a_benchmark_with_these_options(parts: dict[str, list[str]]) -> None:
    """Also those that leave the peer out."""
    for part, options in parts.items():
        command = bench.commands[part]
        leave_out = ["--without-peer"] if part in every.WITH_PEER_OPTION else []
        command.make_parser(click.Context(command)).parse_args([*options, *leave_out, "--json"])
    assert list(every.PARTS) == list(every.SHORT)
    # It compares two stacks.
    assert set(bench.commands) - set(parts) == {"all", "access"}


def test_what_several_parts_have_is_kept_for_each() -> None:
    found = {
        "commands": {"machine": {"cpus": 2}, "creates_per_second": 1},
        "sizes": {"machine": {"cpus": 4}, "bytes": 2},
    }
    assert every.merged(found, {"commands": 3.0, "sizes": 4.0}) == {
        "runs": {
            "commands": {"seconds": 3.0, "machine": {"cpus": 2}},
            "sizes": {"seconds": 4.0, "machine": {"cpus": 4}},
        },
        "creates_per_second": 1,
        "bytes": 2,
    }


def test_each_run_records_the_speed_of_the_machine() -> None:
    assert machine()["loops_per_second"] > 100_000
