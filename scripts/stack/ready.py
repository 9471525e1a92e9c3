"""Checks whether a server is ready: it must answer a request, not only have its port open."""

import json
import ssl
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace

from runtime.settings import Settings
from scripts.stack.brokers import BROKERS

_TIMEOUT_SECONDS = 1


def checks(settings: Settings) -> dict[str, Callable[[], bool]]:
    """Return, for each server, a function that returns whether it answers; none of them raises.

    Each takes about a second at most.
    """
    registry = _reader(
        settings.registry_ca_location, settings.registry_username, settings.registry_password
    )
    elasticsearch = _reader(
        settings.elasticsearch_ca_location,
        settings.elasticsearch_username,
        settings.elasticsearch_password,
    )

    def elasticsearch_answers() -> bool:
        health = elasticsearch(f"{settings.elasticsearch_url}/_cluster/health")
        return isinstance(health, dict) and health.get("status") in {"yellow", "green"}

    addresses = zip(BROKERS, settings.kafka_bootstrap_servers.split(","), strict=False)
    return {
        **{
            name: kafka_check(replace(settings, kafka_bootstrap_servers=address))
            for name, address in addresses
        },
        # It lists its subjects only once it has read its log.
        "registry": lambda: isinstance(registry(f"{settings.registry_url}/subjects"), list),
        "postgres": lambda: postgres_answers(settings),
        "elasticsearch": elasticsearch_answers,
    }


def kafka_check(settings: Settings) -> Callable[[], bool]:
    """Return a function that returns whether the broker that these settings name answers.

    It does once the cluster has a controller, which has let the broker in.
    """
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    from runtime.kafka.clients import client_config

    # One client for all calls: it connects in the background while the broker starts.
    client = AdminClient(
        {**client_config(settings), "log_level": 0, "reconnect.backoff.max.ms": 200}
    )

    def answers() -> bool:
        try:
            metadata = client.list_topics(timeout=_TIMEOUT_SECONDS)
        except KafkaException:
            return False
        return bool(metadata.brokers) and metadata.controller_id >= 0

    return answers


def postgres_answers(settings: Settings) -> bool:
    """Return whether our database answers a query."""
    import psycopg

    try:
        with psycopg.connect(
            settings.postgres_url,
            password=settings.postgres_password,
            connect_timeout=_TIMEOUT_SECONDS,
            client_encoding="UTF8",
        ) as session:
            return session.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def _reader(authority: str, username: str, password: str) -> Callable[[str], object]:
    """Return a function that returns the JSON at a URL, None if there is none."""
    # Without the first handler urllib would send requests to 127.0.0.1 through a configured proxy.
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if authority:
        trusted = ssl.create_default_context(cafile=authority)
        handlers.append(urllib.request.HTTPSHandler(context=trusted))
    opener = urllib.request.build_opener(*handlers)
    if username:
        login = b64encode(f"{username}:{password}".encode()).decode()
        opener.addheaders = [("Authorization", f"Basic {login}")]

    def read(url: str) -> object:
        try:
            with opener.open(url, timeout=_TIMEOUT_SECONDS) as answer:
                return json.load(answer)
        except (urllib.error.URLError, OSError, ValueError):
            return None

    return read
