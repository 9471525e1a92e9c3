"""Which differences of a topic stop a handler, and the command that fixes them."""

import pytest

from runtime.settings import Settings
from runtime.topics.admin import TopicReport
from runtime.topics.drift import fix_command, lossy_drift, refuse_lossy_drift
from schemas.errors import Misconfigured
from scripts.verify.run import check_options

SETTINGS = Settings(kafka_bootstrap_servers="broker:9092", replication_factor=3)


def drifted(name: str, **drift: tuple[str, str]) -> TopicReport:
    """Return a report; `_` in an option stands for `.`."""
    options = {option.replace("_", "."): both for option, both in drift.items()}
    return TopicReport(name, "", 8, drift=options)


@pytest.mark.parametrize(
    ("topic", "option", "wanted", "found"),
    [
        ("user-events", "cleanup_policy", "compact", "delete"),
        ("user-events", "cleanup_policy", "compact", "compact,delete"),
        ("user-hops", "cleanup_policy", "delete", "compact"),
        ("user-commands", "retention_bytes", "-1", "1000000"),
        ("user-history", "unclean_leader_election_enable", "false", "true"),
    ],
)
def test_options_that_lose_records_stop_a_handler(
    topic: str, option: str, wanted: str, found: str
) -> None:
    report = drifted(topic, **{option: (wanted, found)})
    with pytest.raises(Misconfigured, match="loses records") as caught:
        refuse_lossy_drift([drifted("user-emails"), report], SETTINGS)
    assert caught.value.code == "topic_drift"
    check = check_options([drifted("user-emails"), report], SETTINGS)
    option = option.replace("_", ".")
    assert check.examples == [f"topic {topic} has {option}={found}, it must be {wanted}"]
    assert f"--entity-name {topic} --add-config " in caught.value.next_step


@pytest.mark.parametrize(
    ("topic", "option", "wanted", "found"),
    [
        ("user-events", "segment_ms", "21600000", "604800000"),
        ("user-hops", "retention_ms", "2592000000", "604800000"),
        ("user-history", "min_insync_replicas", "2", "1"),
        ("user-history", "replication_factor", "3", "1"),
        ("user-dead-letters", "cleanup_policy", "delete", "compact"),
    ],
)
def test_bounds_and_replicas_do_not_stop_a_handler(
    topic: str, option: str, wanted: str, found: str
) -> None:
    """Managed brokers limit them."""
    report = drifted(topic, **{option: (wanted, found)})
    assert lossy_drift(report, SETTINGS) == []
    refuse_lossy_drift([report], SETTINGS)
    assert check_options([report], SETTINGS).holds


def test_the_command_sets_every_option_that_differs() -> None:
    report = drifted(
        "user-events",
        cleanup_policy=("compact", "delete"),
        segment_ms=("1", "2"),
        replication_factor=("3", "1"),
    )
    assert fix_command(report, SETTINGS) == (
        "kafka-configs.sh --bootstrap-server broker:9092 --alter --entity-type topics "
        "--entity-name user-events --add-config cleanup.policy=compact,segment.ms=1"
    )
    only_copies = drifted("user-events", replication_factor=("3", "1"))
    assert fix_command(only_copies, SETTINGS).startswith("kafka-reassign-partitions.sh ")
