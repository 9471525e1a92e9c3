"""The copy of the rules with which alerts are fired for real: only its durations are others."""

import re

from tests.faults.servers.alerts.shortened import FACTOR, shortened
from tests.observed.alert_rules import groups


def with_any_durations(expression: str) -> str:
    """Return a pattern of the same expression with whatever durations."""
    pattern = re.escape(expression)
    pattern = re.sub(r"\\\[\d+[smhd]\\\]", r"\\[\\d+s\\]", pattern)
    return re.sub(r"\d+\\ \\\*\\ (?:60|3600|86400)", r"\\d+", pattern)


def test_durations_become_shorter() -> None:
    rule = {"alert": "X", "for": "5m", "expr": "deriv(a[10m]) > 5 * 60 and b > 0.05"}
    assert FACTOR == 30
    assert shortened(rule) == {
        "alert": "X",
        "for": "10s",
        "expr": "deriv(a[20s]) > 10 and b > 0.05",
    }


def test_nothing_else_changes() -> None:
    for group in groups():
        for rule in group["rules"]:
            copy = shortened(rule)
            assert {**copy, "expr": 0, "for": 0} == {**rule, "expr": 0, "for": 0}
            assert re.fullmatch(with_any_durations(rule["expr"]), copy["expr"])
