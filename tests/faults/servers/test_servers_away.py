"""Commands while servers are unavailable: each ends by itself with exit 5 and a clear message."""

import json
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import pytest

from runtime.settings import Settings
from schemas.topics import COMMANDS
from tests.faults.outage import Servers
from tests.observed.log import read
from tests.samples.people import people_csv
from tests.started.processes import Rollbook

NOBODY = "0190f5d8-1c2e-7abc-8def-0123456789ab"
CREATE = ("users", "create", "--email", "jane@example.com", "--name", "Jane", "--age", "33")
# The servers that each command needs.
NEEDS = {
    CREATE: {"kafka", "registry"},
    ("users", "update", NOBODY, "--age", "34"): {"kafka", "registry"},
    ("users", "import", "people.csv"): {"kafka", "registry"},
    ("commands", "show", "c"): {"kafka", "registry"},
    ("users", "get", NOBODY): {"postgres"},
    ("users", "history", NOBODY): {"postgres"},
    ("users", "list"): {"postgres"},
    ("users", "summary"): {"postgres"},
    ("users", "search", "jane"): {"elasticsearch"},
    ("events", "tail", "--no-follow"): {"kafka", "registry"},
    ("projector", "status"): {"kafka", "registry", "postgres", "elasticsearch"},
    ("topics", "ensure"): {"kafka", "registry"},
    ("verify",): {"kafka", "registry", "postgres", "elasticsearch"},
}
# Nothing listens on port 1, so it refuses connections as the port of a stopped server does.
AWAY = {
    "kafka": ("ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
    "registry": ("ROLLBOOK_REGISTRY_URL", "http://127.0.0.1:1/apis/ccompat/v7"),
    "postgres": ("ROLLBOOK_POSTGRES_URL", "postgresql://rollbook@127.0.0.1:1/rollbook"),
    "elasticsearch": ("ROLLBOOK_ELASTICSEARCH_URL", "http://127.0.0.1:1"),
}
NAMES = {
    "kafka": "Kafka at 127.0.0.1:1 ",
    "registry": "the schema registry at http://127.0.0.1:1/",
    "postgres": "PostgreSQL at 127.0.0.1:1 ",
    "elasticsearch": "Elasticsearch at http://127.0.0.1:1 ",
}


class Done(NamedTuple):
    """A command that ended."""

    name: str
    process: subprocess.CompletedProcess[str]

    def flaws(self, names: Iterable[str], *, as_json: bool) -> Iterator[str]:
        """Yield how the failure breaks the contract; one of `names` must be the failed server."""
        if self.process.returncode != 5:
            yield f"exit {self.process.returncode}"
        errors = self.process.stderr.splitlines()
        if as_json:
            error = json.loads(errors[0])["error"] if len(errors) == 1 else {}
            if set(error) != {"code", "message", "next"}:
                yield "not one error"
            if not error.get("code", "").endswith("_unavailable"):
                yield f"code {error.get('code')}"
            message = error.get("message", "")
        else:
            message = errors[0] if errors else ""
            steps = [line.startswith("  next: ") for line in errors[1:]]
            if not message.startswith("error: ") or steps != [True]:
                yield "not one clear message"
        if not any(name in message for name in names):
            yield "the server is not named"


def run_all(cases: Iterable[tuple[Rollbook, tuple[str, ...]]]) -> list[Done]:
    """Run commands in parallel, since they mostly wait; one that hangs raises `TimeoutExpired`."""

    def run(case: tuple[Rollbook, tuple[str, ...]]) -> Done:
        rollbook, command = case
        return Done(" ".join(command), rollbook.run(*command))

    with ThreadPoolExecutor(len(NEEDS)) as pool:
        return list(pool.map(run, cases))


def assert_away(ended: Iterable[Done], names: Iterable[str], *, as_json: bool) -> None:
    """Fail with everything that is wrong with any command, and what it printed."""
    names = list(names)
    wrong = [
        f"{done.name}: {', '.join(flaws)}\n{done.process.stderr}"
        for done in ended
        if (flaws := list(done.flaws(names, as_json=as_json)))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def people_file(rollbook: Rollbook) -> None:
    """The file that the import in `NEEDS` reads."""
    (rollbook.directory / "people.csv").write_text(people_csv(3), encoding="utf-8")


def without(rollbook: Rollbook, *away: str) -> Rollbook:
    """Return the command with settings that point these servers to a port where nothing listens."""
    return replace(rollbook, overrides=dict(AWAY[server] for server in away))


def test_one_unavailable_server_is_named(
    settings: Settings, rollbook: Rollbook, people_file: None
) -> None:
    """Every command that needs it ends with exit 5 and one error that names it; nothing is sent."""
    needs = [(server, command) for server in AWAY for command in NEEDS if server in NEEDS[command]]
    ended = run_all((without(rollbook, server), (*command, "--json")) for server, command in needs)
    for (server, _), done in zip(needs, ended, strict=True):
        assert_away([done], [NAMES[server]], as_json=True)
    assert list(read(settings, COMMANDS)) == []


def test_stopped_and_frozen_servers_are_named(
    settings: Settings, rollbook: Rollbook, servers: Servers, people_file: None
) -> None:
    """Without --json, too, each command says which server fails and what to do next.

    A frozen server accepts connections and never answers: that counts as unavailable.
    """
    away = [(without(rollbook, *AWAY), command) for command in NEEDS]
    frozen = [(rollbook, (*command, "--json")) for command in NEEDS]
    with servers.frozen(*AWAY):
        ended = run_all([*away, *frozen])
    addresses = [
        f"Kafka at {settings.kafka_bootstrap_servers} ",
        f"the schema registry at {settings.registry_url} ",
        f"PostgreSQL at {settings.postgres_url.split('@')[1].split('/')[0]} ",
        f"Elasticsearch at {settings.elasticsearch_url} ",
    ]
    assert_away(ended[: len(away)], NAMES.values(), as_json=False)
    assert_away(ended[len(away) :], addresses, as_json=True)
