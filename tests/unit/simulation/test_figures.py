"""The figures of several runs add up in one file."""

import json
from pathlib import Path

from tests.simulation.figures import Runs, add_runs


def test_runs_are_added_to_those_of_other_seeds(tmp_path: Path) -> None:
    file = tmp_path / "simulated.json"
    for first, last, failed in ((10, 19, [13]), (30, 34, []), (20, 24, [])):
        add_runs(
            file,
            Runs(
                seeds=[[first, last]],
                runs=last - first + 1,
                failed=failed,
                happened={"skew": 2},
                answers={"accepted": first},
            ),
        )
    found = json.loads(file.read_text())
    assert (found["seeds"], found["runs"], found["failed"]) == ([[10, 24], [30, 34]], 20, [13])
    assert (found["happened"], found["answers"]) == ({"skew": 6}, {"accepted": 60})
