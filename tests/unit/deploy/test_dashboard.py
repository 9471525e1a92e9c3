"""The Grafana dashboard, without Grafana: its queries, its panels, and how it is provisioned."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from runtime.metrics.table import METRICS
from tests.observed.alert_rules import recorded
from tests.unit.deploy.queries import base_name, metrics_of, unknown_labels, unknown_metrics

GRAFANA = Path(__file__).parents[3] / "deploy" / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "rollbook.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_queries_read_metrics_and_labels_that_exist() -> None:
    for query in QUERIES:
        assert unknown_metrics(query, recorded()) == set(), query
        assert unknown_labels(query) == set(), query


def test_every_metric_has_a_panel() -> None:
    """Directly, or through what a rule records."""
    through_rules = {
        "http_errors": "http_requests_total",
        "live_lag_seconds": "projector_lag_seconds",
        "commands_waiting": "handler_commands_waiting",
    }
    shown = {base_name(name) for query in QUERIES for name in metrics_of(query)}
    shown |= {metric for name, metric in through_rules.items() if any(name in q for q in QUERIES)}
    assert {metric.name for metric in METRICS} - shown == set()


def test_panels_have_unique_ids_explain_themselves_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    assert all(panel["description"] for panel in PANELS)


def test_the_source_of_data_can_be_chosen() -> None:
    """No panel names the data source of one installation."""
    [variable] = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"]) == ("datasource", "datasource")
    for panel in PANELS:
        for one in (panel, *panel["targets"]):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_legends_name_labels_that_the_query_keeps() -> None:
    """A label that an aggregation removed would be shown as an empty name."""
    for panel in PANELS:
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = re.search(r"by \(([^)]*)\)", target["expr"])
            if kept:
                assert named <= {label.strip() for label in kept[1].split(",")}, panel["title"]


def test_compose_provisions_the_dashboard_and_its_source() -> None:
    """Grafana reads the dashboard from the folder where compose puts it."""
    compose = yaml.safe_load((GRAFANA.parents[1] / "docker-compose.yml").read_text("utf-8"))
    targets = {one["source"]: one["target"] for one in compose["services"]["grafana"]["configs"]}
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/rollbook.yml").read_text("utf-8"))
    folder = provider["providers"][0]["options"]["path"]
    assert targets["grafana-rollbook"] == f"{folder}/rollbook.json"
    source = yaml.safe_load(
        (GRAFANA / "provisioning/datasources/prometheus.yml").read_text("utf-8")
    )
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    for name in ("grafana-datasource", "grafana-dashboards"):
        assert targets[name].startswith("/etc/grafana/provisioning/")
