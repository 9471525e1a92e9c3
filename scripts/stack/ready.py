"""Checks whether a server is ready: it must answer a request, not only have its port open."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from scripts.stack.places import HOST
from scripts.stack.record import elasticsearch_url, postgres_url, registry_url

_TIMEOUT_SECONDS = 1


def checks(ports: Mapping[str, int], password_file: Path) -> dict[str, Callable[[], bool]]:
    """Return, for each server, a function that returns whether it answers; none of them raises.

    Each takes about a second at most.
    """
    return {
        "kafka": kafka_check(f"{HOST}:{ports['kafka']}"),
        # It lists its subjects only once it has read its log.
        "registry": lambda: isinstance(_get(f"{registry_url(ports)}/subjects"), list),
        "postgres": lambda: postgres_answers(postgres_url(ports), password_file),
        "elasticsearch": lambda: elasticsearch_answers(elasticsearch_url(ports)),
    }


def kafka_check(brokers: str) -> Callable[[], bool]:
    """Return a function that returns whether a broker answers and the cluster has a controller."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    # One client for all calls: it connects in the background while the broker starts.
    client = AdminClient(
        {
            "bootstrap.servers": brokers,
            "log_level": 0,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 200,
        }
    )

    def answers() -> bool:
        try:
            metadata = client.list_topics(timeout=_TIMEOUT_SECONDS)
        except KafkaException:
            return False
        return bool(metadata.brokers) and metadata.controller_id >= 0

    return answers


def elasticsearch_answers(url: str) -> bool:
    """Return whether the cluster's health is yellow or green."""
    health = _get(f"{url}/_cluster/health")
    return isinstance(health, dict) and health.get("status") in {"yellow", "green"}


def postgres_answers(url: str, password_file: Path) -> bool:
    """Return whether our database answers a query."""
    import psycopg

    password = password_file.read_text(encoding="utf-8").strip()
    try:
        with psycopg.connect(
            url, password=password, connect_timeout=_TIMEOUT_SECONDS, client_encoding="UTF8"
        ) as session:
            return session.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def _get(url: str) -> object:
    # Without this handler urllib would send requests to 127.0.0.1 through a configured proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_TIMEOUT_SECONDS) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return None
