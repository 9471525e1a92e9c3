"""The alert rules: each is tested by promtool, has a runbook, and reads metrics that exist."""

import re
import subprocess

import pytest
import yaml

from docsgen.pages import page
from runtime.metrics.table import BY_NAME, PREFIX
from scripts.stack.observe.prometheus import RULES
from tests.observed.alert_rules import alerts, groups, program, recorded
from tests.unit.deploy.queries import unknown_labels, unknown_metrics

TESTS = sorted((RULES.parent / "tests").glob("*.yml"))
ALERTS = alerts()
EXPRESSIONS = [str(rule["expr"]) for group in groups() for rule in group["rules"]]


def test_promtool_accepts_the_rules_and_their_tests_pass() -> None:
    """For every alert: what fires it, what it says, and something similar that does not."""
    done = subprocess.run(
        [program("promtool"), "test", "rules", *TESTS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_to_fire() -> None:
    fired = {
        expected["alertname"]
        for file in TESTS
        for test in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]
        for expected in test["alert_rule_test"]
        if expected["exp_alerts"]
    }
    assert fired == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_what_to_do(name: str) -> None:
    """Its runbook is a section of a page, headed by its name, and says how urgent it is."""
    alert = ALERTS[name]
    severity = alert["labels"]["severity"]
    assert severity in {"page", "ticket"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    path, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert anchor == name.lower()
    runbook = page(path)
    assert anchor in runbook.anchors
    section = runbook.text.partition(f"## {name}\n")[2]
    assert section.strip().startswith(f"**{severity.capitalize()}.**")


def test_every_runbook_is_of_an_alert() -> None:
    """A page does not keep the section of an alert that was removed or renamed."""
    pages = {alert["annotations"]["runbook_url"].partition("#")[0] for alert in ALERTS.values()}
    headings = {
        heading
        for path in pages
        for heading in re.findall(r"^## (.+)$", page(path).text, re.MULTILINE)
    }
    assert headings == set(ALERTS)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_rules_read_metrics_and_labels_that_exist(expression: str) -> None:
    assert unknown_metrics(expression, recorded()) == set()
    assert unknown_labels(expression) == set()


def test_the_checks_can_fail() -> None:
    """A misspelt metric or label is found; a bucket of a histogram is no misspelt metric."""
    assert unknown_metrics("sum(rollbook_comands_total)", set()) == {"rollbook_comands_total"}
    assert unknown_metrics("rollbook:lag", {"rollbook:other"}) == {"rollbook:lag"}
    assert unknown_metrics("rate(rollbook_command_seconds_bucket[5m])", set()) == set()
    assert unknown_labels('rollbook_handler_partitions{stat="x"}') == {"stat"}
    assert unknown_labels("max by (reader, redaer) (rollbook_dead_letters_open)") == {"redaer"}
    gauge = next(name for name, metric in BY_NAME.items() if metric.kind == "gauge")
    assert unknown_metrics(f"{PREFIX}{gauge}_bucket", set())
