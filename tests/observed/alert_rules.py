"""Reads deploy/prometheus/rules.yml, and finds Debian's programs that evaluate it."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.errors import Misconfigured
from scripts.stack.observe.debian import find_program
from scripts.stack.observe.prometheus import RULES


@cache
def groups() -> list[dict[str, Any]]:
    """Return the groups of rules."""
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return found


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alerts by name."""
    return {rule["alert"]: rule for group in groups() for rule in group["rules"] if "alert" in rule}


def recorded() -> set[str]:
    """Return the names that rules record."""
    return {rule["record"] for group in groups() for rule in group["rules"] if "record" in rule}


def program(name: str) -> Path:
    """Return the path of a program of Debian's Prometheus packages; skip the test without it."""
    try:
        return find_program(name)
    except Misconfigured as missing:
        pytest.skip(f"left out: {missing}")
