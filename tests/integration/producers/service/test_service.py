"""Commands over HTTP, on real servers."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import psutil
import pytest

from runtime.settings import Settings
from schemas.topics import COMMANDS, HISTORY
from tests.observed.log import read
from tests.started.processes import Rollbook, RunningProcess, eventually
from tests.started.roles import SECURE
from tests.started.services import CommandLines, Service

JANE: dict[str, Any] = {"email": "jane@example.com", "name": "Jane Doe", "age": 34}
NDJSON = {"content-type": "application/x-ndjson"}
ENDLESS = 1_000_000
NOBODY = "018bcfe5-6800-7abc-8000-000000000000"


@pytest.fixture
def service(rollbook: Rollbook) -> Iterator[Service]:
    """The service of commands, ready."""
    service = Service(rollbook, "commands")
    yield service
    service.http.close()


def test_a_user_from_creation_to_erasure(handler: RunningProcess, service: Service) -> None:
    created = service.http.post("/users", json=JANE, headers={"idempotency-key": "c-1"})
    user = created.json()
    assert (created.status_code, user["version"], user["command_id"]) == (201, 1, "c-1")
    assert created.headers["location"] == f"/users/{user['user_id']}"
    assert created.headers["etag"] == '"1"'
    assert created.headers["rollbook-token"] == user["token"]
    path = created.headers["location"]
    for method, at, body, version in (
        ("PATCH", path, {"age": 35}, 2),
        ("PUT", f"{path}/email", {"email": "jane.roe@example.com"}, 3),
    ):
        headers = {"if-match": f'"{version - 1}"'}
        changed = service.http.request(method, at, json=body, headers=headers)
        assert (changed.status_code, changed.headers["etag"]) == (200, f'"{version}"')
    deleted = service.http.delete(path)
    assert (deleted.status_code, deleted.json()["status"]) == (200, "accepted")
    assert "etag" not in deleted.headers
    assert service.http.post(f"{path}/erasure").status_code == 200
    gone = service.http.patch(path, json={"age": 36})
    assert (gone.status_code, gone.json()["code"]) == (404, "user_not_found")


def test_rejections_are_problem_documents(handler: RunningProcess, service: Service) -> None:
    """With what the caller needs next: who holds the address, the version now."""
    headers = {"idempotency-key": '"c-1"'}
    user_id = service.http.post("/users", json=JANE, headers=headers).json()["user_id"]
    again = service.http.post("/users", json=JANE, headers=headers)
    assert (again.status_code, again.json()["user_id"]) == (201, user_id)
    for answer, status, code, members in (
        (service.http.post("/users", json=JANE), 409, "user_already_exists", {"user_id": user_id}),
        (
            service.http.post("/users", json=JANE | {"age": 35}, headers=headers),
            422,
            "command_id_reused",
            {"command_id": "c-1"},
        ),
        (
            service.http.patch(f"/users/{user_id}", json={"age": 35}, headers={"if-match": '"2"'}),
            412,
            "version_conflict",
            {"version": 1, "user_id": user_id},
        ),
        (service.http.delete(f"/users/{NOBODY}"), 404, "user_not_found", {}),
    ):
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
        assert members.items() <= problem.items()
        assert "rollbook users" not in problem["next"]
        assert answer.headers.get("etag") == ('"1"' if status == 412 else None)


def test_how_long_a_caller_waits_is_its_own_choice(rollbook: Rollbook, service: Service) -> None:
    """Without a handler nothing is decided. Later, the location shows what became of each."""
    at_once = service.http.post("/users", json=JANE, headers={"prefer": "respond-async"})
    assert (at_once.status_code, at_once.json()["status"]) == (202, "undecided")
    assert at_once.headers["preference-applied"] == "respond-async"
    other = JANE | {"email": "joe@example.com"}
    waited = service.http.post("/users", json=other, headers={"prefer": "respond-async, wait=1"})
    assert waited.status_code == 202
    late = service.http.post(
        "/users", json=JANE, headers={"prefer": "wait=1", "idempotency-key": "a/b?c%d"}
    )
    assert (late.status_code, late.json()["code"]) == (504, "not_in_time")
    assert late.json()["command_id"] == "a/b?c%d"
    places = [answer.headers["location"] for answer in (at_once, waited, late)]
    pending = service.http.get(places[0])
    assert (pending.status_code, pending.headers["retry-after"]) == (202, "1")
    assert pending.json() == at_once.json()
    rollbook.start_handler()
    for place, code in zip(places, (None, None, "user_already_exists"), strict=True):
        found = eventually(partial(_decided, service, place))
        assert found["code"] == code
        assert _decided(service, place.partition("?")[0]) == found
    missing = service.http.get(f"/commands/c-1?{places[0].partition('?')[2]}")
    # The role of clients may not read commands, so it cannot know that there is none.
    expected = (202, None) if SECURE else (404, "command_not_found")
    assert (missing.status_code, missing.json()["code"]) == expected


def _decided(service: Service, place: str) -> Any:
    answer = service.http.get(place)
    return answer.json() if answer.status_code == 200 else None


def test_a_caller_that_disconnects_withdraws_nothing(
    settings: Settings, rollbook: Rollbook, service: Service
) -> None:
    body = json.dumps(JANE).encode()
    with socket.create_connection(("127.0.0.1", service.port)) as caller:
        caller.sendall(_request("POST /users", "application/json", f"Content-Length: {len(body)}"))
        caller.sendall(body)
        eventually(lambda: list(read(settings, COMMANDS)), what="the command is on the log")
    rollbook.start_handler()
    eventually(lambda: len(list(read(settings, HISTORY))) == 1, what="the user is created")


def _request(line: str, content_type: str, framing: str) -> bytes:
    return (
        f"{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n{framing}\r\n\r\n"
    ).encode()


def test_many_commands_are_answered_line_by_line(handler: RunningProcess, service: Service) -> None:
    """In any order between users; those about one user in the order of their lines."""
    user_id = service.http.post("/users", json=JANE).json()["user_id"]
    lines: list[Any] = [
        {"kind": "CreateUser", **JANE, "email": f"user{n}@example.com"} for n in range(200)
    ]
    lines += [{"kind": "UpdateUser", "user_id": user_id, "age": age} for age in range(20)]
    lines += [{"kind": "CreateUser", **JANE}, {"kind": "Create"}, None]
    lines += [{"kind": "DeleteUser", "user_id": user_id, "expected_version": 21}]
    content = "\n".join(json.dumps(line) if line else " " for line in lines)
    answer = service.http.post("/commands", content=content, headers=NDJSON)
    assert answer.headers["content-type"] == "application/x-ndjson"
    answers = {line["line"]: line for line in map(json.loads, answer.text.splitlines())}
    assert sorted(answers) == [*range(1, 223), 224]
    assert {answers[n]["status"] for n in range(1, 221)} == {"accepted"}
    assert [answers[n]["version"] for n in range(201, 221)] == list(range(2, 22))
    assert (answers[221]["code"], answers[221]["user_id"]) == ("user_already_exists", user_id)
    assert (answers[222]["status"], answers[222]["code"]) == ("rejected", "invalid_command")
    assert (answers[224]["status"], answers[224]["version"]) == ("accepted", 22)


def test_a_caller_that_does_not_read_its_answers_has_to_wait(service: Service) -> None:
    """The service stops reading, at the cost of a bounded number of lines in memory."""
    block = b'{"kind": "CreateUser", "email": "jane@example.com", "name": "Jane"}\n' * 100
    process = psutil.Process(service.process.pid)
    before = process.memory_info().rss
    lines = CommandLines(service)
    sent = 0
    with suppress(TimeoutError):
        while sent < ENDLESS:
            lines.send_bytes(block, timeout_seconds=1)
            sent += 100
    assert sent < ENDLESS
    assert process.memory_info().rss - before < 50_000_000
    numbers = [next(lines.answers())["line"] for _ in range(sent)]
    assert sorted(numbers) == list(range(1, sent + 1))
    lines.close()


def test_when_the_service_stops_streams_end_and_say_so(
    handler: RunningProcess, service: Service
) -> None:
    """What was read is answered; the last line says that no more is read."""
    lines = CommandLines(service)
    lines.send({"kind": "CreateUser", **JANE})
    answers = lines.answers()
    assert next(answers)["status"] == "accepted"
    assert service.process.stop() == 0
    [last] = answers
    assert (last["line"], last["status"], last["code"]) == (None, "not_sent", "service_stopping")
    lines.close()


def test_lines_that_arrived_are_decided_although_their_caller_is_gone(
    settings: Settings, handler: RunningProcess, service: Service
) -> None:
    """Half a line is not: it could be another command than the one that was meant."""
    lines = CommandLines(service)
    lines.send({"kind": "CreateUser", **JANE})
    lines.send_bytes(b'{"kind": "CreateUser", "email": "joe@example.com", "name": "Joe", "age": 3}')
    eventually(lambda: list(read(settings, COMMANDS)), what="the first command is on the log")
    lines.close()
    eventually(lambda: list(read(settings, HISTORY)), what="the first command is decided")
    assert service.http.post("/users", json=JANE).json()["code"] == "user_already_exists"
    events = [event["user"]["email"] for _, event in read(settings, HISTORY)]
    assert events == [JANE["email"]]
