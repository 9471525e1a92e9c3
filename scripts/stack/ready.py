"""Says when a server is ready to serve: not when its port opens, but when it answers a request."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from scripts.stack.places import HOST

_PATIENCE_SECONDS = 2
_PAUSE_SECONDS = 0.2


def checks(ports: Mapping[str, int], password_file: Path) -> dict[str, Callable[[], bool]]:
    """Return for each server a check that says whether it answers; none of them raises."""
    return {
        "kafka": lambda: kafka_answers(f"{HOST}:{ports['kafka']}"),
        "registry": lambda: registry_answers(registry_url(ports)),
        "postgres": lambda: postgres_answers(postgres_url(ports), password_file),
        "elasticsearch": lambda: elasticsearch_answers(elasticsearch_url(ports)),
    }


def registry_url(ports: Mapping[str, int]) -> str:
    """Return the address of the registry's Confluent-compatible interface."""
    return f"http://{HOST}:{ports['registry']}/apis/ccompat/v7"


def postgres_url(ports: Mapping[str, int]) -> str:
    """Return the address of the database, without the password."""
    return f"postgresql://rollbook@{HOST}:{ports['postgres']}/rollbook"


def elasticsearch_url(ports: Mapping[str, int]) -> str:
    """Return the address of Elasticsearch."""
    return f"http://{HOST}:{ports['elasticsearch']}"


def kafka_answers(servers: str) -> bool:
    """Say whether a broker answers with itself in its metadata."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    options: dict[str, str | int | float | bool] = {
        "bootstrap.servers": servers,
        "log_level": 0,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 200,
    }
    try:
        metadata = AdminClient(options).list_topics(timeout=_PATIENCE_SECONDS)
    except KafkaException:
        return False
    return bool(metadata.brokers) and metadata.controller_id >= 0


def registry_answers(url: str) -> bool:
    """Say whether the registry lists its subjects, which it does once its log is replayed."""
    return isinstance(_get(f"{url}/subjects"), list)


def elasticsearch_answers(url: str) -> bool:
    """Say whether Elasticsearch calls itself yellow or green."""
    health = _get(f"{url}/_cluster/health?wait_for_status=yellow&timeout=1s")
    return isinstance(health, dict) and health.get("status") in {"yellow", "green"}


def postgres_answers(url: str, password_file: Path) -> bool:
    """Say whether our database answers a query."""
    import psycopg

    password = password_file.read_text(encoding="utf-8").strip()
    try:
        with psycopg.connect(url, password=password, connect_timeout=_PATIENCE_SECONDS) as session:
            return session.execute("SELECT 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def _get(url: str) -> object:
    # A proxy of the environment must not come between us and 127.0.0.1.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_PATIENCE_SECONDS) as answer:
            return json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return None


class Waiting:
    """Asks servers, each in its own thread, until they answer.

    `answered` holds for each that did the seconds it took. Use as a context manager: leaving ends
    the threads.
    """

    def __init__(self, wanted: Mapping[str, Callable[[], bool]]) -> None:
        self.answered: dict[str, float] = {}
        self._began = time.monotonic()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(name, check), daemon=True)
            for name, check in wanted.items()
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def seconds(self) -> float:
        """How long it has waited."""
        return time.monotonic() - self._began

    def _ask(self, name: str, check: Callable[[], bool]) -> None:
        while not self._stopping.is_set():
            if check():
                self.answered[name] = self.seconds
                return
            self._stopping.wait(_PAUSE_SECONDS)
