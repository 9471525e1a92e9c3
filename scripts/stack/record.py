"""What `up` records on disk: how the stack was started, and the settings that point to it."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from runtime.callers.caller import ALL_SCOPES
from runtime.callers.key_file import as_json, new_key
from runtime.settings import Settings
from scripts.serve import TABLE
from scripts.stack.brokers import SEVERAL, bootstrap_servers, broker_names
from scripts.stack.places import HOST, SECURE_PORTS, data_directory, server_user

# What `--observe` adds and people open in a browser.
OBSERVERS = ("prometheus", "grafana")


@dataclass(frozen=True, slots=True)
class StackRecord:
    """How a stack was brought up (`stack.json`).

    Another release may have written it: it may have more fields, and fewer of those with defaults.
    """

    mode: str  # native or docker
    ports: dict[str, int]
    data: str = ""
    java_home: str = ""
    # Where each process has its metrics; empty unless the stack is observed.
    metrics: dict[str, int] = field(default_factory=dict)
    # Whether the servers demand TLS and logins. It never changes.
    secure: bool = False


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """The present state of one server or service."""

    name: str
    kind: str  # server or service
    state: str  # supervisord's (running, backoff, fatal, …) or Docker's name for it
    pid: int | None
    uptime_seconds: float | None
    port: int | None
    log: str
    metrics_port: int | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """What `up` did; `was_running`: the stack was up before, `started`: the servers it started."""

    ports: dict[str, int]
    was_running: bool
    started: list[str]
    seconds: float


def address(name: str, port: int | None, *, secure: bool) -> str:
    """Return where to reach a server or service: a URL for those that people open or call.

    `secure`: of a secure stack, whose services use TLS.
    """
    if port is None:
        return ""
    if name in OBSERVERS:
        return f"http://{HOST}:{port}"
    scheme = "https" if secure else "http"
    is_page = name in {*TABLE, *SECURE_PORTS}
    return f"{scheme}://{HOST}:{port}" if is_page else f"{HOST}:{port}"


def metrics_url(port: int | None) -> str:
    """Return where a process has its metrics, '' if nowhere."""
    return f"http://{HOST}:{port}/metrics" if port else ""


def duration(seconds: float | None) -> str:
    """Return a duration for people: 42 s, 3 min, 5.2 h; '' for None."""
    if seconds is None:
        return ""
    if seconds < 100:  # noqa: PLR2004 - below this, seconds are easier to read
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004


def read_record(stack: Path) -> StackRecord | None:
    """Return what the last `up` recorded in folder `stack`; None if there was none since a wipe."""
    try:
        text = (stack / "stack.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    known = {one.name for one in fields(StackRecord)}
    found = json.loads(text)
    return StackRecord(**{name: value for name, value in found.items() if name in known})


def servers_data(stack: Path) -> Path:
    """Return the folder with the data of a native stack's servers: where its first `up` put it.

    Permissions of the folders may change later; a stack must still start with its data then.
    """
    record = read_record(stack)
    if record and record.mode == "native" and record.data:
        return Path(record.data)
    return data_directory(stack, server_user())


def write_record(stack: Path, record: StackRecord) -> None:
    """Record how the stack was started."""
    write_private(stack / "stack.json", json.dumps(asdict(record), indent=1))


def write_settings(stack: Path, ports: Mapping[str, int]) -> None:
    """Write the `rollbook.toml` of a plain stack, which every rollbook command reads by default."""
    write_toml(stack / "rollbook.toml", _plain_settings(stack, ports))


def plain_settings(stack: Path, ports: Mapping[str, int]) -> Settings:
    """Return the settings that reach the servers of a plain stack, with its password."""
    return settings_of(_plain_settings(stack, ports))


def _plain_settings(stack: Path, ports: Mapping[str, int]) -> dict[str, str | int]:
    copies = {"replication_factor": SEVERAL} if len(broker_names(ports)) > 1 else {}
    return {
        "kafka_bootstrap_servers": bootstrap_servers(ports),
        **copies,
        "registry_url": registry_url(ports),
        "postgres_url": postgres_url(ports),
        "postgres_password_file": str(password_file(stack)),
        "elasticsearch_url": elasticsearch_url(ports),
        # Handlers of two stacks may have the same name.
        "state_directory": str(stack),
    }


def settings_of(values: Mapping[str, str | int]) -> Settings:
    """Return settings with exactly these values and the secrets in the files that they name.

    Unlike `load_settings`, it reads no environment variables, which may lead to another stack.
    """
    secrets: dict[str, Any] = {
        name.removesuffix("_file"): Path(str(value)).read_text(encoding="utf-8").strip()
        for name, value in values.items()
        if name.endswith("password_file")
    }
    others: dict[str, Any] = {
        name: value for name, value in values.items() if not name.endswith("password_file")
    }
    return Settings(**others, **secrets)


def write_toml(path: Path, values: Mapping[str, str | int]) -> None:
    """Write settings to a file that only its owner may read."""
    # A JSON string is a TOML string, and a number a number.
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
    write_private(path, f"# Written by `rollbook stack up`.\n{text}")


def password_file(stack: Path) -> Path:
    """Return the path of the file that holds PostgreSQL's password."""
    return stack / "postgres.password"


def key_file(stack: Path) -> Path:
    """Return the path of the file with the key of the services that run in containers."""
    return stack / "http.key"


def keys_file(stack: Path) -> Path:
    """Return the path of the file that those services read: the key's hash and its scopes."""
    return stack / "http.keys.json"


def ensure_key(stack: Path) -> None:
    """Make a key that may do everything, unless the stack has one."""
    if not key_file(stack).exists():
        key, text = new_key("local", ALL_SCOPES)
        write_private(keys_file(stack), as_json({key.id: key}).decode())
        write_private(key_file(stack), text + "\n")


def registry_url(ports: Mapping[str, int], scheme: str = "http") -> str:
    """Return the address of the registry's Confluent-compatible API."""
    return f"{scheme}://{HOST}:{ports['registry']}/apis/ccompat/v7"


def postgres_url(ports: Mapping[str, int], user: str = "rollbook") -> str:
    """Return the address of the database, without the password."""
    return f"postgresql://{user}@{HOST}:{ports['postgres']}/rollbook"


def elasticsearch_url(ports: Mapping[str, int], scheme: str = "http") -> str:
    """Return the address of Elasticsearch."""
    return f"{scheme}://{HOST}:{ports['elasticsearch']}"


def write_private(path: Path, text: str) -> None:
    """Replace `path` atomically by a file that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
