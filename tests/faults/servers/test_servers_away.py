"""Commands while servers are away: each ends soon, with the right code and one clear message."""

import json
import subprocess
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import pytest

from runtime.settings import Settings
from schemas.topics import COMMANDS
from tests.faults.outage import Servers, people
from tests.log import read
from tests.processes import Rollbook, eventually

NOBODY = "0190f5d8-1c2e-7abc-8def-0123456789ab"
# It takes 15 s for a command alone. A dozen start together here, beside the other worker's tests on
# two cores: this tells what ends from what hangs.
MOST_SECONDS = 60

CREATE = ("users", "create", "--email", "jane@example.com", "--name", "Jane", "--age", "33")
# What each command cannot do without.
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
# Nobody listens on port 1: a server that is down refuses in the same way.
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
    seconds: float

    def flaws(self, names: Iterable[str], *, as_json: bool) -> Iterator[str]:
        """Yield what the contract forbids about an end for want of a server of these `names`."""
        if self.process.returncode != 5:
            yield f"exit {self.process.returncode}"
        if self.seconds > MOST_SECONDS:
            yield f"{self.seconds:.1f} s"
        errors = self.process.stderr.splitlines()
        if as_json:
            error = json.loads(errors[0])["error"] if len(errors) == 1 else {}
            if set(error) != {"code", "message", "next"}:
                yield "not one error"
            message = error.get("message", "")
        else:
            message = errors[0] if errors else ""
            steps = [line.startswith("  next: ") for line in errors[1:]]
            if not message.startswith("error: ") or steps != [True]:
                yield "not one clear message"
        if not any(name in message for name in names):
            yield "the server is not named"


def run_all(cases: Iterable[tuple[Rollbook, tuple[str, ...]]]) -> list[Done]:
    """Run commands side by side, since most of their time is waiting."""

    def run(case: tuple[Rollbook, tuple[str, ...]]) -> Done:
        rollbook, command = case
        began = time.monotonic()
        done = rollbook.run(*command)
        return Done(" ".join(command), done, time.monotonic() - began)

    with ThreadPoolExecutor(len(NEEDS)) as pool:
        return list(pool.map(run, cases))


def assert_away(ended: Iterable[Done], names: Iterable[str], *, as_json: bool) -> None:
    """Fail with all that is wrong with any command, and what it printed."""
    names = list(names)
    wrong = [
        f"{done.name}: {', '.join(flaws)}\n{done.process.stderr}"
        for done in ended
        if (flaws := list(done.flaws(names, as_json=as_json)))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def people_file(rollbook: Rollbook) -> None:
    """What the import of `NEEDS` reads."""
    (rollbook.directory / "people.csv").write_text(people("u", 3), encoding="utf-8")


def without(rollbook: Rollbook, *away: str) -> Rollbook:
    """Return the command under settings that look for servers where nobody listens."""
    return replace(rollbook, overrides=dict(AWAY[server] for server in away))


def test_one_server_is_away(settings: Settings, rollbook: Rollbook, people_file: None) -> None:
    """Whoever needs it ends with 5 and one error that names it; nothing was sent."""
    needs = [(server, command) for server in AWAY for command in NEEDS if server in NEEDS[command]]
    ended = run_all((without(rollbook, server), (*command, "--json")) for server, command in needs)
    for (server, _), done in zip(needs, ended, strict=True):
        assert_away([done], [NAMES[server]], as_json=True)
    assert list(read(settings, COMMANDS)) == []


def test_every_server_is_away_or_frozen(
    settings: Settings, rollbook: Rollbook, servers: Servers, people_file: None
) -> None:
    """Away: each command says so in a sentence, and what to do next, to people as to programs.

    Frozen, they take connections and do not answer: that is away as well.
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


def test_no_handler_runs(settings: Settings, rollbook: Rollbook) -> None:
    """The command stands on the log: its id leads to its answer once a handler has started."""
    error = rollbook.json(*CREATE, "--timeout", "2", "--command-id", "c", code=4)["error"]
    assert error["code"] == "not_in_time"
    assert "command c " in error["message"]
    assert "rollbook commands show c" in error["next"]
    assert rollbook.json("commands", "show", "c", code=4)["error"]["code"] == "not_decided"
    handler = rollbook.start_handler()
    eventually(lambda: rollbook.run("commands", "show", "c").returncode == 0)
    assert rollbook.json("commands", "show", "c")["status"] == "accepted"
    assert rollbook.json(*CREATE, "--command-id", "c")["version"] == 1
    assert rollbook.json("commands", "show", "d", code=3)["error"]["code"] == "command_not_found"
    assert handler.stop() == 0
