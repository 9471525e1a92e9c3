import subprocess
from itertools import count
from threading import Timer

from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.identity import partition_of, user_shard
from schemas.records import USER_CREATED, UserEvent
from schemas.topics import HISTORY
from tests.observed.log import put
from tests.samples.events import event_of
from tests.started.processes import ROLLBOOK, Rollbook

PATIENCE_SECONDS = 60


def created(name: str, number: int) -> UserEvent:
    email = f"{name.lower()}@example.com"
    return event_of(email, number=number, seq=number, type=USER_CREATED, name=name)


def append(settings: Settings, *events: UserEvent) -> None:
    """Append events to their users' partitions."""
    encode = Registry(settings).codec(HISTORY.schema).encode
    homes = [partition_of(user_shard(event["user_id"]), settings.partitions) for event in events]
    records = [
        (event["event_id"], encode(event), home) for event, home in zip(events, homes, strict=True)
    ]
    put(settings, HISTORY, *records)


def tail(rollbook: Rollbook, *options: str) -> list[str]:
    """Return the lines that `tail --no-follow` prints; it must succeed."""
    done = rollbook.run("events", "tail", "--no-follow", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_event_is_shown_with_its_place(settings: Settings, rollbook: Rollbook) -> None:
    """From the beginning, of all partitions, in order within each."""
    events = [created(f"User{number}", number) for number in range(1, 21)]
    append(settings, *events)
    found = rollbook.ndjson("events", "tail", "--no-follow", "--from", "beginning")
    assert sorted(record["seq"] for record in found) == list(range(1, 21))
    for partition in range(settings.partitions):
        offsets = [record["offset"] for record in found if record["partition"] == partition]
        assert offsets == sorted(offsets)
    assert found[0]["topic"] == settings.named(HISTORY.name)
    assert [change["field"] for change in found[0]["changes"]] == ["email", "name", "age"]
    assert len(tail(rollbook, "--from", "-1h", "--limit", "7")) == 7
    assert tail(rollbook, "--from", "end") == []
    assert tail(rollbook, "--from", "2999-01-01") == []


def test_only_the_events_of_the_chosen_user_are_shown(
    settings: Settings, rollbook: Rollbook
) -> None:
    """Others of the same partition are left out."""
    events = [created(f"User{number}", number) for number in range(1, 21)]
    append(settings, *events)
    found = rollbook.ndjson(
        "events", "tail", "--no-follow", "--from", "beginning", "--user", events[4]["user_id"]
    )
    assert [record["seq"] for record in found] == [5]


def test_foreign_bytes_and_tombstones_are_shown(settings: Settings, rollbook: Rollbook) -> None:
    """The records before and after them are shown too."""
    values = (b"\xff garbage", b"", b"\x00\x7f\xff\xff\xff!", None)
    put(settings, HISTORY, *(("foreign", value, 0) for value in values))
    append(settings, *(created(f"User{number}", number) for number in range(1, 9)))
    found = rollbook.ndjson("events", "tail", "--no-follow", "--from", "beginning")
    errors = [record["error"] for record in found if "error" in record]
    assert errors == ["wrong_magic", "wrong_magic", "unknown_schema", "no_value"]
    assert sum("event_id" in record for record in found) == 8
    assert any("unreadable: no_value" in line for line in tail(rollbook, "--from", "beginning"))


def test_following_shows_new_events_and_ends_when_the_pipe_is_closed(
    settings: Settings, rollbook: Rollbook
) -> None:
    """`| head -2`: two lines are printed, then the command ends by itself, without an error."""
    numbers = count(1)
    append(settings, created("User0", next(numbers)))
    process = subprocess.Popen(
        [ROLLBOOK, "events", "tail", "--from", "beginning"],
        env=rollbook.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    guard = Timer(PATIENCE_SECONDS, process.kill)
    guard.start()
    assert "User0" in process.stdout.readline()
    append(settings, created("Later", next(numbers)))
    assert "Later" in process.stdout.readline()
    process.stdout.close()
    assert process.wait(PATIENCE_SECONDS) == 0
    assert process.stderr.read() == ""
    process.stderr.close()
    guard.cancel()
