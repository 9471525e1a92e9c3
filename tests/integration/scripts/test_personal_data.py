"""No log, dead letter or error has personal data or a secret, whatever arrives and whatever fails.

All processes run with names, addresses, passwords and a key that occur nowhere else. What they
print is searched for these.
"""

import json
import re
import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from projectors.catalog import OURS
from runtime.logs import FIELDS
from runtime.settings import Settings
from schemas.topics import DEAD_LETTERS
from tests.integration.foreign import SECRET, ForeignWriter, forged
from tests.integration.projectors.dead_letters.letter_desk import REFUSE, run_sql
from tests.integration.projectors.engine.foreign_corpus import corpus
from tests.integration.quoting import echo_server
from tests.integration.scripts.sentinel_system import PASSWORD, TOKEN, System
from tests.observed.catch_up import wait_caught_up
from tests.observed.log import read
from tests.started.processes import Rollbook
from tests.started.services import Service

ADDRESS = f"{SECRET}@example.com"
PERSON: dict[str, Any] = {"email": ADDRESS, "name": f"{SECRET} Дöe", "age": 34}


@pytest.fixture
def system(rollbook: Rollbook, tmp_path: Path) -> Iterator[System]:
    system = System(rollbook, tmp_path)
    yield system
    for service in system.services.values():
        service.http.close()


def test_nothing_that_is_printed_has_personal_data(settings: Settings, system: System) -> None:
    handler = system.start("handler", "handler", "run", "--instance", "a", as_json=True)
    for name in OURS:
        system.start(name, "projector", "run", name, as_json=name != "postgres")
    commands = system.serve("commands", "commands", as_json=True)
    queries = system.serve("queries", "queries", "--operations")
    handler.wait_for("restored partition", times=settings.partitions)
    with nobody() as address:
        start_without_kafka(system, address)
        user_id = use(commands, queries)
        misuse(system, user_id)
        use_console(system)
        poison(settings, system, user_id)
        break_servers(system, address)
        system.read_metrics()
    for process in system.processes.values():
        process.stop()
    check_logs(system)
    for _, letter in read(settings, DEAD_LETTERS, skip_foreign=True):
        system.printed.append(repr(letter))
    assert not system.leaks(settings)
    leak = f"Authorization: Basic {b64encode(f'u:{PASSWORD}'.encode()).decode()}"
    system.printed.append(leak)
    assert system.leaks(settings) == [f"{PASSWORD} in {leak}"]


def use(commands: Service, queries: Service) -> str:
    """Create, change and find a user; return the id."""
    user_id: str = commands.http.post("/users", json=PERSON).json()["user_id"]
    for method, path, body in (
        ("PATCH", f"/users/{user_id}", {"name": f"{SECRET} Roe"}),
        ("PUT", f"/users/{user_id}/email", {"email": f"new.{ADDRESS}"}),
    ):
        changed = commands.http.request(method, path, json=body)
        assert changed.status_code == 200, changed.text
    after = {"rollbook-after": changed.headers["rollbook-token"]}
    assert queries.http.get(f"/users/{user_id}", headers=after).json()["name"] == f"{SECRET} Roe"
    found = queries.http.post("/search", json={"text": SECRET})
    assert found.status_code == 200, found.text
    assert SECRET in queries.http.get("/events?from=beginning&follow=false").text
    return user_id


def misuse(system: System, user_id: str) -> None:
    """Put secrets and personal data where they do not belong, and send what is refused."""
    commands, queries = system.services["commands"], system.services["queries"]
    for service in (commands, queries):
        for path in (f"/{ADDRESS}", f"/users/{ADDRESS}", f"/users?email={ADDRESS}&limit=x"):
            system.refused(service.http.get(path))
        lookup = f"/commands/{user_id}" if service is commands else f"/users/{user_id}"
        for wrong in (ADDRESS, TOKEN, f"{system.key[:-3]}xyz", f"rbk_{PASSWORD}"):
            given = {"authorization": f"Bearer {wrong}"}
            assert system.refused(service.http.get(lookup, headers=given)) in {401, 503}
        system.printed.append(service.http.get("/openapi.json").text)
    taken = PERSON | {"email": f"new.{ADDRESS}"}
    for body in (PERSON | {"age": 1_000}, PERSON | {ADDRESS: 1}, taken, {"name": SECRET}):
        assert system.refused(commands.http.post("/users", json=body)) in {400, 409, 422}
    for content in (f'{{"{SECRET}":'.encode(), f'"{SECRET}"\xff'.encode("latin-1"), b"[]"):
        headers = {"content-type": "application/json"}
        assert system.refused(commands.http.post("/users", content=content, headers=headers)) == 400
    lines = "\n".join((json.dumps(PERSON), json.dumps({"kind": SECRET}), SECRET))
    headers = {"content-type": "application/x-ndjson"}
    assert commands.http.post("/commands", content=lines, headers=headers).status_code == 200
    system.refused(queries.http.get(f"/dead-letters/{ADDRESS}?payload=true"))
    system.refused(queries.http.post(f"/read-models/{ADDRESS}/rebuild"))
    system.refused(commands.http.get(f"/commands/{ADDRESS}"))
    with closing(socket.create_connection(("127.0.0.1", commands.port))) as caller:
        caller.sendall(f"GET {SECRET}\r\n{ADDRESS}\r\n\r\n".encode())
        assert b"400" in caller.recv(4_096)


def use_console(system: System) -> None:
    """Sign in, look for a user, and send forms that are refused."""
    console = system.serve("console", "console", as_json=True)
    http = console.http
    del http.headers["authorization"]
    http.headers["origin"] = console.url
    for key in (SECRET, system.key):
        token = token_of(http.get("/sign-in").text)
        answer = http.post("/sign-in", data={"token": token, "key": key})
    assert answer.status_code == 303, answer.text
    assert SECRET in http.get("/users", params={"text": SECRET}).text
    token = token_of(http.get("/users/new").text)
    for path in ("/users/new", f"/dead-letters/{ADDRESS}", f"/jobs/{ADDRESS}/stop"):
        form = PERSON | {"email": SECRET}
        assert http.post(path, data={"token": token, **form}).status_code < 500
        assert http.post(path, data={"token": "wrong", **form}).status_code == 403


def token_of(page: str) -> str:
    """Return the token that a form of the page sends."""
    found = re.search(r'name="token" value="([^"]+)"', page)
    assert found, page
    return found[1]


def poison(settings: Settings, system: System, user_id: str) -> None:
    """Write what nobody can read or apply, and restart the handler on it."""
    run_sql(settings, 1, REFUSE)
    foreign_writer = ForeignWriter(settings)
    for case in corpus(settings):
        foreign_writer.put(case.topic, case.value, case.key, case.partition)
    refused, home = forged(settings, "refused", age=41, name=SECRET)
    foreign_writer.put_event(refused, home)
    wait_caught_up(settings, timeout_seconds=120)
    # Its exceptions quote the events; the server's errors quote the requests.
    quoting = system.start("quoting", "projector", "run", "domains", as_json=True)
    quoting.wait()
    system.processes["handler"].stop()
    handler = system.start("restarted", "handler", "run", "--instance", "a")
    handler.wait_for("is not decided: cannot restore")
    system.run("users", "update", user_id, "--age", "x")
    system.run("users", "create", "-", stdin=json.dumps(PERSON | {"email": "@"}).encode()[:-1])


@contextmanager
def nobody() -> Iterator[str]:
    """Yield an address at which nobody listens."""
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


def start_without_kafka(system: System, address: str) -> None:
    """Start a handler without brokers. It notices that after some seconds."""
    before = dict(system.rollbook.overrides)
    system.rollbook.overrides |= {
        "ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS": address,
        "ROLLBOOK_KAFKA_SECURITY_PROTOCOL": "sasl_plaintext",
        "ROLLBOOK_KAFKA_SASL_MECHANISM": "PLAIN",
        "ROLLBOOK_KAFKA_SASL_USERNAME": "handler",
        "ROLLBOOK_KAFKA_SASL_PASSWORD": PASSWORD,
    }
    system.start("no kafka", "handler", "run", "--instance", "b", as_json=True)
    system.rollbook.overrides = before


def break_servers(system: System, address: str) -> None:
    """Start a service and projectors whose stores are down, or quote what they are asked."""
    with echo_server() as echo:
        system.rollbook.overrides |= {
            "ROLLBOOK_ELASTICSEARCH_URL": echo,
            "ROLLBOOK_POSTGRES_URL": f"postgresql://u:{quote(PASSWORD, '')}@{address}/rollbook",
        }
        queries = system.serve("broken", "queries", as_json=True)
        search = queries.http.post("/suggest", json={"prefix": SECRET})
        assert search.json()["code"] == "elasticsearch_refused"
        listed = queries.http.get("/users", params={"limit": 5})
        assert listed.json()["code"] == "postgres_unavailable"
        for answer in (search, listed):
            system.refused(answer)
        quoted = system.start("quoted", "projector", "run", "elasticsearch")
        system.start("no store", "projector", "run", "postgres").wait_for("postgres_unavailable")
        assert quoted.wait() == 2
        system.processes["no kafka"].wait_for("kafka_unavailable")


def check_logs(system: System) -> None:
    """Everything above has happened, and each line has its fields."""
    logs = {name: process.text() for name, process in system.processes.items()}
    assert "the projector failed: ValueError" in logs["quoting"]
    assert "postgres_refused" in logs["postgres"]
    assert re.search(
        r"dead letter: .* read_model=postgres version=1 partition=\d", logs["postgres"]
    )
    assert re.search(r"is not decided: .* instance=a partition=\d code=unread", logs["restarted"])
    for name in ("handler", "quoting", "broken", "commands", "console", "no kafka", "history"):
        lines = [json.loads(line) for line in logs[name].splitlines()]
        assert lines
        for line in lines:
            unknown = line.keys() - {"time", "level", "logger", "message", "traceback", *FIELDS}
            assert not unknown
            assert {"time", "level", "process", "logger", "message"} <= line.keys()
    assert 'http_requests_total{method="POST",route="/users"' in system.metrics["commands"]
    assert 'store_errors_total{store="postgres"} 1.0' in system.metrics["broken"]
    assert re.search(r'store_retries_total{store="kafka"} [1-9]', system.metrics["no kafka"])
    assert {line["code"] for line in lines_with_code(logs["commands"])} >= {
        "malformed_body",
        "user_already_exists",
    }
    assert "code=unauthenticated" in logs["queries"]


def lines_with_code(log: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, log.splitlines()) if "code" in line]
