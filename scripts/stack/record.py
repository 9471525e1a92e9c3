"""What `up` writes down for the commands that come later, and for rollbook's own settings."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.stack import ready
from scripts.stack.places import HOST


@dataclass(frozen=True, slots=True)
class StackRecord:
    """How a stack was brought up (`stack.json`)."""

    mode: str  # native or docker
    ports: dict[str, int]
    data: str = ""
    java_home: str = ""


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One server or service of a stack as it is now."""

    name: str
    kind: str  # server or service
    state: str  # running, starting, backoff, exited, fatal or stopped
    pid: int | None
    uptime_seconds: float | None
    port: int | None
    log: str


@dataclass(frozen=True, slots=True)
class Started:
    """What an `up` did: the ports, the servers it started, and whether others ran before."""

    ports: dict[str, int]
    was_running: bool
    started: list[str]
    seconds: float


def read_record(stack: Path) -> StackRecord | None:
    """Return what `up` noted in the folder of a stack, or None if it is not up."""
    try:
        text = (stack / "stack.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return StackRecord(**json.loads(text))


def write_record(stack: Path, record: StackRecord) -> None:
    """Note how the stack was brought up."""
    write_private(stack / "stack.json", json.dumps(asdict(record), indent=1))


def write_settings(stack: Path, ports: Mapping[str, int]) -> None:
    """Write the `rollbook.toml` that leads every rollbook command to these servers."""
    settings = {
        "kafka_bootstrap_servers": f"{HOST}:{ports['kafka']}",
        "registry_url": ready.registry_url(ports),
        "postgres_url": ready.postgres_url(ports),
        "postgres_password_file": str(password_file(stack)),
        "elasticsearch_url": ready.elasticsearch_url(ports),
    }
    # A JSON string is a TOML string.
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
    write_private(stack / "rollbook.toml", f"# Written by `rollbook stack up`.\n{text}")


def password_file(stack: Path) -> Path:
    """Return the path of the file with PostgreSQL's password, readable by its owner only."""
    return stack / "postgres.password"


def write_private(path: Path, text: str) -> None:
    """Replace `path` by a file that only its owner may read, at once and whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
