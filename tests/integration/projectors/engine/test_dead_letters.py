"""The commands of `dead-letters` on real servers."""

import json
from typing import Any

import pytest

from runtime.kafka.registry import Registry
from runtime.settings import Settings
from schemas.identity import email_shard, partition_of
from schemas.topics import COMMANDS, DEAD_LETTERS, HOPS
from tests.integration.foreign import SECRET, ForeignWriter, Future
from tests.integration.projectors.dead_letters.letter_desk import (
    forge_letter,
    lines,
    place_of,
    results,
)
from tests.samples.given import create
from tests.started.processes import Rollbook, RunningProcess, eventually

EMAIL = f"{SECRET}@example.com"


def command(settings: Settings, command_id: str, email: str = EMAIL) -> tuple[bytes, int]:
    """Return a creation as it is encoded on the log, and its partition."""
    value = (
        Registry(settings)
        .codec(COMMANDS.schema)
        .encode(create(email, name=SECRET, command_id=command_id))
    )
    return value, partition_of(email_shard(email), settings.partitions)


def test_an_unreadable_command_is_shown_and_discarded(
    settings: Settings, rollbook: Rollbook, handler: RunningProcess
) -> None:
    assert lines(rollbook, "list") == []
    value, home = command(settings, "cut")
    place = place_of(ForeignWriter(settings).put(COMMANDS, value[:-3], SECRET.encode()[:1], home))
    [letter] = eventually(lambda: lines(rollbook, "list"), what="a letter")
    assert (letter["letter"], letter["reader"], letter["error"]) == (place, "handler", "bad_avro")
    assert (letter["settled"], letter["settled_at"]) == (None, None)
    shown = rollbook.run("dead-letters", "list")
    assert place in shown.stdout
    assert "1 dead letter open" in shown.stderr

    there = rollbook.json("dead-letters", "show", place, "--payload")
    assert (there["in_log"], there["error"], there["key"]) == ("unreadable", "bad_avro", "q")
    assert there["value_bytes"] == len(value) - 3
    assert there["letters"] == [letter]
    assert "bad_avro" in rollbook.run("dead-letters", "show", place).stdout

    [one] = lines(rollbook, "retry", place, code=3)
    assert (one["letter"], one["result"], one["error"]) == (place, "poisoned", "bad_avro")
    assert lines(rollbook, "list") == [letter]
    assert [one["result"] for one in lines(rollbook, "discard", place)] == ["discarded"]
    assert lines(rollbook, "list") == []
    [settled] = lines(rollbook, "list", "--all")
    assert (settled["settled"], settled["error"]) == ("discarded", "bad_avro")
    assert lines(rollbook, "list", "--all", "--reader", "projector:postgres") == []
    assert SECRET not in handler.text()


def test_a_command_is_decided_once_its_schema_is_known(
    settings: Settings, rollbook: Rollbook, handler: RunningProcess
) -> None:
    """It was read before the registry had its schema; a retry answers it, and only once."""
    value, home = command(settings, "early")
    future = Future(settings, COMMANDS.schema)
    place = place_of(ForeignWriter(settings).put(COMMANDS, future.framed(value), b"early", home))
    [letter] = eventually(lambda: lines(rollbook, "list"), what="a letter")
    assert letter["error"] == "unknown_schema"
    assert rollbook.json("dead-letters", "show", place)["schema_id"] == future.schema_id
    assert results(rollbook, "--all", code=3) == ["poisoned"]

    future.arrive()
    there = rollbook.json("dead-letters", "show", place)
    assert (there["in_log"], "record" in there) == ("readable", False)
    shown = rollbook.run("dead-letters", "show", place, "--payload", "--json")
    assert json.loads(shown.stdout)["record"]["email"] == EMAIL
    assert results(rollbook, "--all", "--dry-run") == ["sent"]
    assert len(lines(rollbook, "list")) == 1
    assert results(rollbook, "--all", "--reader", "handler") == ["sent"]
    eventually(lambda: rollbook.run("commands", "show", "early").returncode == 0, what="decided")
    assert lines(rollbook, "list") == []
    assert [one["settled"] for one in lines(rollbook, "list", "--all")] == ["sent"]
    # A settled letter can still be retried by name.
    assert results(rollbook, place) == ["sent"]
    outcome = rollbook.json("commands", "show", "early")
    assert (outcome["status"], outcome["version"]) == ("accepted", 1)
    assert results(rollbook, "--all") == []


def test_foreign_records_among_the_letters_stop_no_command(
    settings: Settings, rollbook: Rollbook
) -> None:
    """Bytes, wrong keys, unknown topics and readers, and impossible places."""
    foreign_writer = ForeignWriter(settings)
    for key, value in ((b"x", b"\xff"), (b"x", None), (None, b""), (None, b"\0\x7f\xff\xff\xffx")):
        foreign_writer.put(DEAD_LETTERS, value, key)

    def forge(topic: str, partition: int, offset: int, reader: str, **more: Any) -> None:
        forge_letter(settings, (topic, partition, offset), reader, error="bad_avro\x1b[2J", **more)

    events, commands = settings.named("user-events"), settings.named(COMMANDS.name)
    forge(events, 0, 0, "projector:postgres", key="other")
    forge(events, -1, 0, "projector:postgres")
    forge(events, 0, 0, "projector:postgres", occurred_at=2**62)
    forge("nonsense\x07", 0, 0, "handler")
    forge(events, 0, 0, "projector:mongodb")
    forge(events, 0, 0, "who")
    forge(settings.named("user-history"), 0, 0, "projector:postgres")
    forge(settings.named(HOPS.name), 0, 0, "handler")
    forge(commands, 2**31 - 1, 0, "handler")
    forge(commands, 0, 2**62, "handler")
    done = rollbook.run("dead-letters", "list")
    assert done.returncode == 0
    assert "7 records among the dead letters are not letters" in done.stderr
    assert "7 dead letters open" in done.stderr
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    found = lines(rollbook, "list")
    for letter in found:
        assert rollbook.run("dead-letters", "show", letter["letter"]).returncode == 0
    told = {
        one["reader"] + one["letter"]: one["result"]
        for one in lines(rollbook, "retry", "--all", code=3)
    }
    assert sorted(told.values()) == ["gone"] * 2 + ["not_retried"] * 5
    assert len(lines(rollbook, "list")) == 5
    assert len(lines(rollbook, "discard", "--all", "--yes")) == 5
    assert lines(rollbook, "list") == []


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("retry",), 2, "usage"),
        (("retry", "x:0:0", "--all"), 2, "usage"),
        (("discard",), 2, "usage"),
        (("discard", "--all"), 2, "usage"),
        (("show",), 2, "usage"),
        (("show", "x:0:0"), 3, "dead_letter_not_found"),
        (("show", "\udcff"), 3, "dead_letter_not_found"),
        (("retry", "x"), 3, "dead_letter_not_found"),
        (("discard", "x:0:0", "y:0:0"), 3, "dead_letter_not_found"),
    ],
)
def test_wrong_arguments_are_refused(
    rollbook: Rollbook, arguments: tuple[str, ...], code: int, error: str
) -> None:
    done = rollbook.run("dead-letters", *arguments, "--json")
    assert (done.returncode, done.stdout) == (code, "")
    assert json.loads(done.stderr)["error"]["code"] == error
