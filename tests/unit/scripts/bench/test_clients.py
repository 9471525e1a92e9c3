"""`rollbook bench clients` without servers: which answers count, its ratios and its JSON object."""

import time

import pytest

from runtime.settings import Settings
from scripts.bench.clients import measure
from scripts.bench.clients.closed_loop import KINDS, Answers, Window, seen
from scripts.bench.report.measure import Findings, machine

PLAN = measure.Plan((1, 64), 1.0, 2, with_peer=True, as_json=True)


def test_only_answers_within_the_window_count() -> None:
    """Those of the warm-up and those that come after its end do not."""
    now = time.perf_counter()
    for window, counted in (
        (Window(now - 1, now + 60), 1),
        (Window(now + 60, now + 120), 0),
        (Window(now - 2, now - 1), 0),
    ):
        answers = Answers(window)
        assert answers.is_open() == (window.ends > now)
        answers.take(now - 0.25)
        assert len(answers.milliseconds) == counted
        assert all(taken >= 250 for taken in answers.milliseconds)


def test_the_rate_is_of_the_window() -> None:
    found = seen([float(one) for one in range(1, 201)], seconds=2.0)
    assert found.per_second == 100
    assert found.p50_ms == pytest.approx(100, abs=1)
    assert found.p99_ms == pytest.approx(199, abs=1)


@pytest.fixture
def findings() -> Findings:
    """Two repeats, the second on a machine of half the speed; the peer is slower by its number."""
    found = Findings(as_json=True)
    for speed in (2.0, 1.0):
        for slower, side in enumerate((measure.OURS, *measure.PEERS), start=1):
            for kind in KINDS:
                for clients in PLAN.clients:
                    name = f"{side}, {kind}, {clients}"
                    found.add(f"{name} per_second", speed * 60 * clients / slower)
                    for cut in ("p50", "p99"):
                        found.add(f"{name} ms {cut}", slower / speed)
    return found


def test_ratios_are_taken_within_a_repeat(
    findings: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that slows down between repeats changes no ratio."""
    monkeypatch.setattr(measure, "peer_version", lambda: "9")
    monkeypatch.setattr(measure, "server_durability", lambda _: {"on": "all", "off": "some"})
    result = measure.as_json(Settings(), PLAN, findings, machine())
    for slower, peer in enumerate(measure.PEERS, start=2):
        for kind in KINDS:
            for one in result["ratios"][peer][kind].values():
                assert (one["least"], one["greatest"]) == (slower, slower)
    ours = result["measured"][measure.OURS]["update"]["64"]
    assert ours["per_second"]["greatest"] == 2 * 60 * 64
    assert ours["ms"]["p99"]["least"] == 0.5
    ratios, figures = 2 * 2 * 2, 3 * 2 * 2 * 3
    assert len(list(measure.as_rows(PLAN, findings))) == ratios + figures


def test_without_the_peer_its_figures_are_absent(findings: Findings) -> None:
    for name in [name for name in findings.values if not name.startswith(measure.OURS)]:
        del findings.values[name]
    plan = measure.Plan((1, 64), 1.0, 2, with_peer=False, as_json=True)
    result = measure.as_json(Settings(), plan, findings, machine())
    assert list(result["measured"]) == [measure.OURS]
    assert "ratios" not in result
