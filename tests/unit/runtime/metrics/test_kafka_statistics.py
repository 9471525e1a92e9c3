import json

from runtime.metrics.kafka_statistics import recorder_of, statistics_config
from runtime.metrics.recording import Values
from runtime.settings import Settings

REPORT = {
    "msg_cnt": 0,
    "brokers": {
        "a:9092/bootstrap": {"nodeid": -1, "state": "UP", "rtt": {"avg": 90_000}},
        "a:9092/1": {"nodeid": 1, "state": "UP", "rtt": {"avg": 1_500}},
        "b:9092/2": {"nodeid": 2, "state": "DOWN", "rtt": {"avg": 80_000}},
        "GroupCoordinator": {"nodeid": -1, "state": "UP", "rtt": {"avg": 70_000}},
    },
    "topics": {"t": {"partitions": {"0": {"fetchq_cnt": 7}, "1": {"fetchq_cnt": 7}}}},
    "cgrp": {"rebalance_cnt": 3},
}


def test_a_report_is_recorded_under_the_label_of_its_client() -> None:
    values = Values()
    recorder_of("handler", values)(json.dumps(REPORT))
    for name, value in (
        ("kafka_client_broker_rtt_seconds", 0.0015),
        ("kafka_client_connected_brokers", 1),
        ("kafka_client_queued_messages", 7),
        ("kafka_client_rebalances_total", 3),
    ):
        assert values.numbers(name) == {("handler",): value}, name


def test_clients_report_only_where_metrics_are_served() -> None:
    assert statistics_config(Settings(), "handler") == {}
    assert "stats_cb" in statistics_config(Settings(metrics_listen="127.0.0.1:0"), "handler")
