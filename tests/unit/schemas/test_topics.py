"""The topics are complete, and configured so that erased data disappears within a bound."""

import pytest

from runtime.settings import Settings
from runtime.topics.admin import wanted_partitions
from schemas.coding.codec import schema_text
from schemas.topics import (
    COMMANDS,
    DEAD_LETTERS,
    EVENTS,
    HISTORY,
    OUTCOMES,
    TOPICS,
    Topic,
)

DAY_MS = 86_400_000


def test_every_topic_of_the_design_is_defined_once() -> None:
    """The seven names are an interface; each topic has a purpose and an existing schema."""
    assert [topic.name for topic in TOPICS] == [
        "user-commands",
        "user-events",
        "user-history",
        "user-outcomes",
        "user-emails",
        "user-hops",
        "user-dead-letters",
    ]
    for topic in TOPICS:
        assert topic.purpose
        assert schema_text(topic.schema)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topic_bounds_how_long_data_lives(topic: Topic) -> None:
    """Segments roll by time, and either retention or compaction lag is limited."""
    assert 0 < int(topic.config["segment.ms"]) <= DAY_MS
    if topic.config["cleanup.policy"] == "compact":
        assert 0 < int(topic.config["max.compaction.lag.ms"]) <= 7 * DAY_MS
        assert int(topic.config["delete.retention.ms"]) >= DAY_MS
    else:
        assert topic.config["cleanup.policy"] == "delete"
        assert 0 < int(topic.config["retention.ms"]) <= 30 * DAY_MS


def test_events_and_history_are_never_deleted_by_age() -> None:
    """The read models' source and the audit trail are compacted, not expired."""
    assert EVENTS.config["cleanup.policy"] == HISTORY.config["cleanup.policy"] == "compact"


def test_an_answer_outlives_its_command_by_a_day_at_most() -> None:
    """As long as a command can be read, so can its outcome.

    An outcome's id may hash the content of its command: see `producers.importer.run`.
    """
    outcomes, commands = (int(topic.config["retention.ms"]) for topic in (OUTCOMES, COMMANDS))
    assert 0 < outcomes - commands <= DAY_MS


def test_all_topics_but_dead_letters_have_the_same_partitions() -> None:
    """One handler owns the same partition number of all of them."""
    settings = Settings(partitions=5)
    assert {topic.name: wanted_partitions(topic, settings) for topic in TOPICS} == {
        topic.name: 1 if topic is DEAD_LETTERS else 5 for topic in TOPICS
    }
