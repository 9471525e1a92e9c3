"""librdkafka's statistics as metrics; it reports them to a callback of each client."""

from collections.abc import Callable
from typing import Any, Final

import orjson

from runtime.metrics.recording import VALUES, Values
from runtime.settings import Settings

# Its report has an entry for each partition, which costs time with thousands of them.
_EVERY_SECONDS: Final = 5
_MICROSECONDS: Final = 1e6


def statistics_config(settings: Settings, client: str) -> dict[str, Any]:
    """Return the options under which a client reports; none unless metrics are served.

    `client` is its label: the same for every client that replaces it.
    """
    if not settings.metrics_listen:
        return {}
    return {
        "statistics.interval.ms": _EVERY_SECONDS * 1000,
        "stats_cb": recorder_of(client, VALUES),
    }


def recorder_of(client: str, values: Values) -> Callable[[str], None]:
    """Return the callback that records the reports of one client."""

    def on_statistics(text: str) -> None:
        found = orjson.loads(text)
        # Others are addresses of `kafka_bootstrap_servers`, and names of the same brokers by role.
        brokers = [one for one in found["brokers"].values() if one["nodeid"] >= 0]
        connected = [one for one in brokers if one["state"] == "UP"]
        rtt_us = max((one["rtt"]["avg"] for one in connected), default=0)
        values.set("kafka_client_broker_rtt_seconds", rtt_us / _MICROSECONDS, client)
        values.set("kafka_client_connected_brokers", len(connected), client)
        # A consumer's partitions share one queue, and each of them reports its length.
        fetched = max(
            (
                partition["fetchq_cnt"]
                for topic in found["topics"].values()
                for partition in topic["partitions"].values()
            ),
            default=0,
        )
        values.set("kafka_client_queued_messages", found["msg_cnt"] + fetched, client)
        if "cgrp" in found:
            values.set("kafka_client_rebalances_total", found["cgrp"]["rebalance_cnt"], client)

    return on_statistics
