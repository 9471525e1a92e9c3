"""Measures a peer: Quix Streams with its sinks to PostgreSQL and Elasticsearch, one process each.

It runs in an environment of its own, with the releases that it declares to work with, locked in
`quix_environment`; the first run installs it.
"""

import hashlib
import json
import os
import secrets
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from runtime.settings import Settings
from schemas.errors import Misconfigured
from scripts.bench.workload.processes import running
from scripts.bench.workload.rate import filling_rate
from scripts.bench.workload.stores import UserIndex, UserTable, postgres_login
from scripts.stack.download.jdk import find_uv
from scripts.stack.places import cache_directory, locked

NAME: Final = "Quix Streams 3.28.1"
GUARANTEE: Final = (
    "at least once; upsert by key without versions: an older record that is replayed overwrites a "
    "newer one; no summary; offsets apart from the data"
)
_BATCH_RECORDS: Final = 10_000
# Faster than its default of 500 documents a request.
_BULK_DOCUMENTS: Final = 2_500
_APPLICATION: Final = Path(__file__).with_name("quix_application.py")
_PROJECT: Final = Path(__file__).with_name("quix_environment")


def quix_rows_per_second(settings: Settings, topic: str, table: UserTable, count: int) -> float:
    """Have its sink write the `count` records of `topic` into the empty `table`; return its rate.

    Raises `Misconfigured` if it is not installed or cannot run here, `CheckFailed` if it fails.
    """
    login = postgres_login(settings)
    options = {
        **{name: login[name] for name in ("host", "dbname", "user", "password")},
        "port": int(login["port"]),
        "schema_name": table.schema,
        "table_name": table.name,
    }
    return _filling_rate(settings, topic, "postgres", options, store=table, count=count)


def quix_documents_per_second(
    settings: Settings, topic: str, index: UserIndex, count: int
) -> float:
    """Have its sink write the `count` documents of `topic` into the empty `index`; as above."""
    options: dict[str, Any] = {
        "url": settings.elasticsearch_url,
        "index": index.name,
        "batch_size": _BULK_DOCUMENTS,
    }
    if settings.elasticsearch_username:
        login = (settings.elasticsearch_username, settings.elasticsearch_password)
        options["basic_auth"] = login
    return _filling_rate(settings, topic, "elasticsearch", options, store=index, count=count)


def _filling_rate(
    settings: Settings,
    topic: str,
    sink: str,
    options: Mapping[str, Any],
    *,
    store: UserTable | UserIndex,
    count: int,
) -> float:
    if settings.kafka_security_protocol.lower() != "plaintext":
        raise Misconfigured("Quix Streams is only run against a broker without security")
    with tempfile.TemporaryDirectory() as folder:
        asked = {
            "broker": settings.kafka_bootstrap_servers,
            "registry": settings.registry_url,
            "topic": topic,
            # A known group has offsets.
            "group": f"{topic}-{secrets.token_hex(4)}",
            "batch": _BATCH_RECORDS,
            "folder": folder,
            "sink": sink,
            "options": options,
        }
        # On stdin, because everybody can read the arguments of a process: there is a password.
        with running([_python(), _APPLICATION], stdin=json.dumps(asked).encode()) as process:
            return filling_rate(store.count, count, process.alive)


@cache
def _python() -> Path:
    """Return the interpreter of the peer's environment, which is installed if it is not there.

    Raises `Misconfigured` if that fails.
    """
    lock = hashlib.sha256((_PROJECT / "uv.lock").read_bytes()).hexdigest()
    environment = cache_directory(None) / f"quix-{lock[:12]}"
    with locked(environment.with_name(f"{environment.name}.lock")):
        command = [find_uv() or "uv", "sync", "--frozen", "--quiet", "--project", str(_PROJECT)]
        variables = {"UV_PROJECT_ENVIRONMENT": str(environment)}
        try:
            done = subprocess.run(
                command, env=os.environ | variables, capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise _not_installed(str(error)) from None
    if done.returncode != 0:
        raise _not_installed(done.stderr.strip()[-500:])
    return environment / "bin" / "python"


def _not_installed(why: str) -> Misconfigured:
    return Misconfigured(
        f"{NAME} could not be installed: {why}",
        code="peer_not_installed",
        next_step="`make setup` in the checkout installs uv, which needs PyPI or a mirror",
    )
