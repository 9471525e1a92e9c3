"""A stream of events continues exactly where it stopped."""

from itertools import islice
from typing import Any

import pytest

from tests.integration.projectors.service.http import QueryService
from tests.started.processes import Rollbook, RunningProcess


def create(rollbook: Rollbook, number: int) -> dict[str, Any]:
    created: dict[str, Any] = rollbook.json(
        *("users", "create", "--email", f"user{number}@example.org"),
        *("--name", "Jane", "--age", str(number)),
    )
    return created


def contents(events: Any) -> list[dict[str, Any]]:
    """Return the events of a stream without the blocks that only say where it is."""
    return [content for _, content in events if content is not None]


def test_a_stream_continues_after_the_last_event_that_its_reader_got(
    rollbook: Rollbook, service: QueryService, handler: RunningProcess
) -> None:
    for number in range(6):
        create(rollbook, number)
    printed = rollbook.ndjson("events", "tail", "--from", "beginning", "--no-follow")
    assert len(printed) == 6
    got: list[dict[str, Any]] = []
    last: str | None = None
    while len(got) < 6:  # one event from each connection
        stream = service.events("/events?from=beginning", last)
        last, content = next(one for one in stream if one[1] is not None)
        stream.close()
        got.append(content)
    assert sorted(got, key=lambda one: one["event_id"]) == sorted(
        printed, key=lambda one: one["event_id"]
    )

    # What is written while nobody reads is not lost, even in partitions without an event before.
    stream = service.events("/events")
    place, nothing = next(stream)
    stream.close()
    assert nothing is None
    created = [create(rollbook, number) for number in range(6, 12)]
    later = contents(islice(service.events("/events", place), 7))
    assert {one["user_id"] for one in later} == {one["user_id"] for one in created}
    assert service.get("/events", 400, headers={"last-event-id": "x"})["code"] == "invalid_event_id"


def test_a_stream_can_be_limited_to_a_user_and_to_types(
    rollbook: Rollbook, service: QueryService, handler: RunningProcess
) -> None:
    jane, other = create(rollbook, 1)["user_id"], create(rollbook, 2)["user_id"]
    for user_id in (jane, other):
        rollbook.json("users", "update", user_id, "--age", "40")
    query = "from=beginning&follow=false"
    of_jane = contents(service.events(f"/events?{query}&user={jane}"))
    assert [(one["user_id"], one["version"]) for one in of_jane] == [(jane, 1), (jane, 2)]
    updates = contents(service.events(f"/events?{query}&type=UserUpdated"))
    assert {one["user_id"] for one in updates} == {jane, other}
    assert len(contents(service.events(f"/events?{query}&limit=3"))) == 3
    lines = service.http.get(f"/events?{query}", headers={"accept": "application/x-ndjson"})
    assert len(lines.text.splitlines()) == 4

    # A stream ends when the service stops.
    stream = service.events("/events")
    next(stream)
    assert service.process.stop() == 0
    with pytest.raises(StopIteration):
        next(stream)
