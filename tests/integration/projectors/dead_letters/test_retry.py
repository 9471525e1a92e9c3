"""Retried dead letters: in every version of a read model, and after later events."""

from typing import LiteralString

from confluent_kafka import TopicPartition

from runtime.kafka.clients import admin
from runtime.settings import Settings
from schemas.topics import COMMANDS, EVENTS
from tests.integration.foreign import SECRET, ForeignWriter, forged
from tests.integration.projectors.dead_letters.letter_desk import (
    ACCEPT,
    REFUSE,
    age_of,
    ages,
    forge_letter,
    letters,
    lines,
    place_of,
    results,
    run_sql,
    running_writer,
)
from tests.observed.log import alter_topics
from tests.started.processes import Rollbook, RunningProcess, eventually

_WATCH: tuple[LiteralString, ...] = (
    "CREATE TABLE {schema}.seen (commits text)",
    """CREATE FUNCTION {schema}.watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format('INSERT INTO %I.seen VALUES ($1)', TG_TABLE_SCHEMA)
    USING current_setting('synchronous_commit'); RETURN NULL; END $$""",
    """CREATE TRIGGER watch AFTER INSERT ON {schema}.users
    EXECUTE FUNCTION {schema}.watch()""",
)


def test_a_letter_is_settled_once_every_version_has_applied_the_event(
    settings: Settings, rollbook: Rollbook, projector: RunningProcess
) -> None:
    """There is one letter for all versions; it stays open while one of them refuses the event.

    A retried event is on disk before the letter is settled: a crash of PostgreSQL takes back data
    and checkpoint together, and this event is before the checkpoint.
    """
    foreign_writer = running_writer(settings)
    assert rollbook.run("projector", "rebuild", "postgres").returncode == 0
    for version in (1, 2):
        run_sql(settings, version, REFUSE)
    refused, home = forged(settings, "refused", age=41, name=SECRET)
    where = foreign_writer.put_event(refused, home)
    after, home = forged(settings, "after")
    foreign_writer.put_event(after, home)
    eventually(lambda: age_of(settings, after["user_id"]), what="its neighbour")
    [letter] = eventually(lambda: letters(settings), what="a letter")
    assert (letter.place, letter.error) == (place_of(where), "postgres_refused")
    eventually(lambda: ages(settings, 2, after["user_id"]), what="the other version")
    assert len(letters(settings)) == 1

    [one] = lines(rollbook, "retry", "--all", code=3)
    assert (one["result"], one["error"]) == ("poisoned", "postgres_refused")
    run_sql(settings, 1, ACCEPT)
    [one] = lines(rollbook, "retry", "--all", code=3)
    assert "version 2 of postgres" in one["message"]
    assert age_of(settings, refused["user_id"]) is None  # otherwise a swap would remove it again
    run_sql(settings, 2, ACCEPT)
    assert results(rollbook, "--all", "--dry-run") == ["applied"]
    assert ages(settings, 2, refused["user_id"]) == []
    for text in _WATCH:
        run_sql(settings, 2, text)
    assert results(rollbook, letter.place) == ["applied"]
    assert ages(settings, 2, refused["user_id"]) == [(41,)]
    assert age_of(settings, refused["user_id"]) == 41
    assert run_sql(settings, 2, "SELECT DISTINCT commits FROM {schema}.seen") == [("on",)]
    assert letters(settings) == []
    assert rollbook.json("users", "summary")["total_users"] == 3
    assert SECRET not in projector.text()


def test_a_record_beyond_the_checkpoint_is_left_to_the_projector(
    settings: Settings, rollbook: Rollbook, projector: RunningProcess
) -> None:
    foreign_writer = running_writer(settings)
    projector.stop()
    late, home = forged(settings, "late")
    place = forge_letter(settings, foreign_writer.put_event(late, home), "projector:postgres")
    [one] = lines(rollbook, "retry", "--all", code=3)
    assert (one["letter"], one["result"]) == (place, "not_reached")
    assert age_of(settings, late["user_id"]) is None
    assert len(letters(settings)) == 1
    rollbook.start_projector("postgres")
    eventually(lambda: age_of(settings, late["user_id"]), what="the projector")
    assert results(rollbook, "--all") == ["applied"]


def test_letters_of_compacted_and_deleted_records_are_settled(
    settings: Settings, rollbook: Rollbook, projector: RunningProcess
) -> None:
    """A later event of the user repairs the row; a record past retention is gone for good."""
    alter_topics(settings, [EVENTS], segment_ms="1000", max_compaction_lag_ms="1000")
    foreign_writer = ForeignWriter(settings)
    event, home = forged(settings, "jane")
    broken = foreign_writer.put(EVENTS, b"broken", event["user_id"].encode(), home)
    eventually(lambda: letters(settings), what="a letter")
    gone = foreign_writer.put(COMMANDS, b"broken", b"other")
    forge_letter(settings, gone, "handler")
    foreign_writer.put_event(event, home)

    def compacted() -> bool:
        # Another record, so that segments are rolled.
        foreign_writer.put_event(forged(settings, "jane", version=2)[0], home)
        place = place_of(broken)
        return bool(rollbook.json("dead-letters", "show", place)["in_log"] == "superseded")

    client = admin(settings)
    before = TopicPartition(gone[0], gone[1], gone[2] + 1)
    for deleted in client.delete_records([before]).values():
        deleted.result()
    eventually(compacted, 90, "the broken record is compacted away")
    found = {one["letter"]: one["result"] for one in lines(rollbook, "retry", "--all", code=3)}
    assert found == {
        place_of(broken): "superseded",
        place_of(gone): "gone",
    }
    assert letters(settings) == []
    assert age_of(settings, event["user_id"]) == 40
