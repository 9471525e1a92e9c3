"""A copy of the alert rules that differs in its durations only, so that a fault fires them soon.

Durations are `for`, ranges such as `[10m]`, and products such as `5 * 60`.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.observed.alert_rules import groups

FACTOR = 30
# A restart takes seconds however short the rule is; certificates are made for the true limits.
FACTORS: Mapping[str, int] = {
    "RollbookProcessRestarts": 6,
    # Each try of a transaction waits for its timeout.
    "RollbookTransactionsAborted": 3,
    "RollbookCertificateExpiresSoon": 1,
    "RollbookCertificateExpires": 1,
}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LEAST_SECONDS = 4  # a range needs two scrapes, one of which may be late


def factor_of(rule: Mapping[str, Any]) -> int:
    """Return by how much the durations of a rule are divided."""
    return FACTORS.get(rule.get("alert", ""), FACTOR)


def shortened(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule with shorter durations."""
    factor = factor_of(rule)

    def shorter(seconds: int) -> int:
        return max(math.ceil(seconds / factor), _LEAST_SECONDS)

    expression = re.sub(
        r"\[(\d+)([smhd])\]",
        lambda found: f"[{shorter(int(found[1]) * _SECONDS[found[2]])}s]",
        str(rule["expr"]),
    )
    expression = re.sub(
        r"(\d+) \* (60|3600|86400)",
        lambda found: str(shorter(int(found[1]) * int(found[2]))),
        expression,
    )
    changed = {**rule, "expr": expression}
    if "for" in rule:
        changed["for"] = f"{shorter(int(rule['for'][:-1]) * _SECONDS[rule['for'][-1]])}s"
    return changed


def write_shortened(path: Path) -> Path:
    """Write the copy to `path`, and return it."""
    copy = [{**group, "rules": [shortened(one) for one in group["rules"]]} for group in groups()]
    path.write_text(yaml.safe_dump({"groups": copy}), encoding="utf-8")
    # Prometheus may run as another user than the test.
    path.chmod(0o644)
    return path
