"""The nemesis: a short plan; in depth one seed, and one with a handler that lacks a protection."""

from pathlib import Path

import pytest

from scripts.stack.native.local import LocalStack
from tests.depth import DEEP
from tests.faults.nemesis.plan import SHORT, plan_of
from tests.faults.nemesis.run import run

deep = pytest.mark.skipif(not DEEP, reason="takes minutes; `make nemesis` runs as many as wanted")


@pytest.mark.timeout(900)
def test_a_short_run_shows_clients_nothing_wrong(stack: LocalStack, tmp_path: Path) -> None:
    result, _ = run(SHORT, stack, tmp_path)
    assert result.violations == []
    wanted = {"commands killed", "kafka killed", "postgres killed and rewound"}
    assert wanted <= result.faults.keys()
    assert result.commands >= SHORT.commands


@deep
def test_a_run_with_faults_shows_clients_nothing_wrong(stack: LocalStack, tmp_path: Path) -> None:
    result, _ = run(plan_of(1), stack, tmp_path)
    assert result.violations == []
    assert result.faults.total() >= 3
    assert result.commands >= 500


@deep
def test_a_handler_that_forgets_ids_is_caught(stack: LocalStack, tmp_path: Path) -> None:
    result, _ = run(plan_of(1), stack, tmp_path, saboteur="ids are not remembered")
    assert any("was answered in" in violation for violation in result.violations)
