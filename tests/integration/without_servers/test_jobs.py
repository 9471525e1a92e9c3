"""A job runs in its own process; its lines, its end and its failure all reach whoever asks."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Coroutine, Mapping
from typing import Any

import pytest

from projectors.service.job_states import FAILED, RUNNING, STOPPED, SUCCEEDED
from projectors.service.jobs.jobs import Job, Jobs
from projectors.service.jobs.worker import Emit
from runtime.settings import Settings
from schemas.errors import Rejected
from tests.started.processes import eventually


def count(settings: Settings, asked: Mapping[str, Any], emit: Emit) -> Mapping[str, Any]:
    for number in range(asked["to"]):
        emit({"text": f"{settings.prefix} {number}"})
    logging.getLogger(__name__).warning("waiting for %s", "a server")
    return {"counted": asked["to"]}


def end_badly(_settings: Settings, asked: Mapping[str, Any], emit: Emit) -> None:
    emit({"text": "begun"})
    if asked["how"] == "refused":
        raise Rejected("it cannot be", code="version_not_found", next_step="do otherwise")
    if asked["how"] == "mistake":
        raise ValueError("jane@example.com")
    if asked["how"] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


OPERATIONS = {"count": count, "end_badly": end_badly}


def run(step: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(step, 120))


async def lines_of(job: Job, after: int = 0) -> list[tuple[int, str]]:
    return [(number, line["text"]) async for number, line in job.follow(after, asyncio.Event())]


def test_lines_arrive_in_order_and_again_from_any_of_them() -> None:
    async def steps() -> None:
        jobs = Jobs(Settings(prefix="p"), OPERATIONS)
        job = jobs.start("count", {"to": 3}, "ops")
        assert job.as_json()["state"] == RUNNING
        expected = [(1, "p 0"), (2, "p 1"), (3, "p 2"), (4, "waiting for a server")]
        assert await lines_of(job) == expected
        assert await lines_of(job, 2) == expected[2:]
        found = jobs.get(job.number).as_json()
        assert (found["state"], found["result"], found["error"]) == (
            SUCCEEDED,
            {"counted": 3},
            None,
        )
        assert found["started_by"] == "ops"
        assert found["ended_at"] >= found["started_at"]

    run(steps())


@pytest.mark.parametrize(
    ("how", "state", "code"),
    [
        ("refused", FAILED, "version_not_found"),
        ("mistake", FAILED, "error"),
        ("killed", STOPPED, None),
    ],
)
def test_a_failed_job_is_reported_without_personal_data(
    how: str, state: str, code: str | None
) -> None:
    async def steps() -> None:
        jobs = Jobs(Settings(), OPERATIONS)
        job = jobs.start("end_badly", {"how": how}, None)
        lines = await lines_of(job)
        assert lines[0] == (1, "begun")
        found = job.as_json()
        assert found["state"] == state
        assert (found["error"] or {}).get("code") == code
        assert "jane" not in str(found)

    run(steps())


def test_one_job_runs_at_a_time_and_can_be_stopped() -> None:
    async def steps() -> None:
        jobs = Jobs(Settings(), OPERATIONS)
        job = jobs.start("end_badly", {"how": "late"}, None)
        with pytest.raises(Rejected) as refused:
            jobs.start("count", {"to": 1}, None)
        assert refused.value.code == "job_running"
        assert job.number in str(refused.value)
        follower = job.follow(0, asyncio.Event())
        assert (await anext(follower))[1] == {"text": "begun"}
        jobs.stop(job.number)
        await lines_of(job)
        assert job.state == STOPPED
        assert await lines_of(jobs.start("count", {"to": 1}, None))
        assert [one.operation for one in jobs.all()] == ["count", "end_badly"]
        jobs.close()

    run(steps())


def test_the_end_of_the_service_ends_its_job() -> None:
    async def steps() -> None:
        jobs = Jobs(Settings(), OPERATIONS)
        job = jobs.start("end_badly", {"how": "late"}, None)
        jobs.close()
        # The thread that reads its lines may be the one that learns of its end.
        await asyncio.to_thread(eventually, lambda: not job.process.is_alive())

    run(steps())
