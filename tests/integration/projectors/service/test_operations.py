"""Operations run as jobs, one at a time, and do what their commands do."""

import json
from collections.abc import Iterator
from contextlib import closing

import pytest
from confluent_kafka import Producer

from runtime.kafka.clients import client_config
from runtime.settings import Settings
from schemas.topics import EVENTS
from tests.integration.projectors.service.http import QueryService
from tests.started.processes import Rollbook, RunningProcess, eventually


@pytest.fixture
def service(rollbook: Rollbook) -> Iterator[QueryService]:
    """The service with operations, without keys."""
    service = QueryService(rollbook, "--operations")
    with closing(service.http):
        yield service


def test_a_read_model_is_rebuilt_compared_swapped_and_rolled_back(
    rollbook: Rollbook, service: QueryService, handler: RunningProcess, projector: RunningProcess
) -> None:
    created = rollbook.json(
        "users", "create", "--email", "a@example.com", "--name", "A", "--age", "1"
    )
    eventually(lambda: service.get("/summary?after=" + created["token"])["total_users"] == 1)

    path = service.start_job("POST", "/read-models/postgres/rebuild")
    other = service.http.post("/read-models/history/rebuild")
    assert (other.status_code, other.json()["code"]) == (409, "job_running")
    rebuilt = service.finish_job(path)
    assert rebuilt["state"] == "succeeded", rebuilt
    assert rebuilt["result"]["version"] == 2
    lines = service.http.get(f"{path}/lines").text.splitlines()
    assert any("comparing with the log" in json.loads(line)["text"] for line in lines)
    last, end = service.events(f"{path}/lines", str(len(lines) - 1))
    assert last == (str(len(lines)), json.loads(lines[-1]))
    assert end[1] == rebuilt

    compared = service.run_job("POST", "/read-models/postgres/versions/2/compare")
    assert compared["result"]["same"] is True
    assert compared["result"]["rows_compared"] == 1
    assert rollbook.json("projector", "compare", "postgres", "1")["same"] is True
    for operation, live in (("versions/2/swap", 2), ("rollback", 1)):
        swapped = service.run_job("POST", f"/read-models/postgres/{operation}")
        assert swapped["state"] == "succeeded", swapped
        [model] = [
            one
            for one in service.get("/read-models")["read_models"]
            if one["read_model"] == "postgres"
        ]
        assert [one["number"] for one in model["versions"] if one["live"]] == [live]
    refused = service.run_job("DELETE", "/read-models/postgres/versions/1")
    assert refused["state"] == "failed"
    assert refused["error"]["code"] == "version_is_live"
    assert service.run_job("DELETE", "/read-models/postgres/versions/2")["state"] == "succeeded"
    assert len(service.get("/jobs")["jobs"]) == 6


def test_verify_says_line_by_line_what_holds(
    rollbook: Rollbook,
    service: QueryService,
    handler: RunningProcess,
    projectors: dict[str, RunningProcess],
) -> None:
    rollbook.json("users", "create", "--email", "a@example.com", "--name", "A", "--age", "1")
    job = service.run_job("POST", "/verify")
    assert job["state"] == "succeeded", job
    assert job["result"]["holds"] is True
    lines = service.http.get(f"/jobs/{job['job']}/lines").text.splitlines()
    assert len(lines) == job["result"]["checks"] == len(rollbook.ndjson("verify"))


def test_a_job_can_be_stopped(service: QueryService, rollbook: Rollbook) -> None:
    # Without a projector the read models never catch up.
    path = service.start_job("POST", "/verify", {"timeout": 600})
    assert service.http.delete(path).status_code == 202
    assert service.finish_job(path)["state"] == "stopped"


def test_dead_letters_are_listed_shown_retried_and_discarded(
    settings: Settings, rollbook: Rollbook, service: QueryService, projector: RunningProcess
) -> None:
    producer = Producer(client_config(settings))
    producer.produce(settings.named(EVENTS.name), b"not Avro", b"key", partition=1)
    producer.flush(30)
    listed = eventually(lambda: service.get("/dead-letters")["dead_letters"])
    assert listed == rollbook.ndjson("dead-letters", "list")
    place = listed[0]["letter"]
    shown = service.get(f"/dead-letters/{place}?payload=true")
    assert shown == rollbook.json("dead-letters", "show", place, "--payload")
    service.process.wait_for(f"reads the record of dead letter {place}")

    retried = service.run_job("POST", "/dead-letters/retry", {"letters": [place]})
    assert retried["result"] == {"letters": 1, "dry_run": False, "results": {"poisoned": 1}}
    missing = service.run_job("POST", "/dead-letters/retry", {"letters": ["x:1:1"]})
    assert missing["error"]["code"] == "dead_letter_not_found"
    discarded = service.run_job("POST", "/dead-letters/discard", {"all": True})
    assert discarded["result"] == {"letters": 1}
    assert service.get("/dead-letters")["open"] == 0
    assert service.get("/dead-letters?all=true")["dead_letters"][0]["settled"] == "discarded"
