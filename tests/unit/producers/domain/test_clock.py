"""A clock that is ahead: how far its time spreads, and how a partition returns to the true time."""

import pytest

from producers.domain.overlay import Overlay
from scripts.verify.checks.log import LogChecks
from scripts.verify.facts import Entry
from tests.samples.given import (
    NOW,
    PARTITIONS,
    Log,
    Partition,
    address_in,
    change_email,
    create,
    home_of,
    registered,
    update,
)

JANE = "jane@example.com"
MINUTE_MS, YEAR_MS = 60_000, 365 * 86_400_000


@pytest.mark.parametrize(("ahead_ms", "followed_ms"), [(5_000, 5_000), (YEAR_MS, MINUTE_MS)])
def test_another_partition_follows_a_message_by_at_most_a_minute(
    ahead_ms: int, followed_ms: int
) -> None:
    log = Log()
    home = log.partitions[home_of(JANE)]
    user_id = log.create(JANE)
    away = (home.number + 1) % PARTITIONS
    home.now += ahead_ms
    log.ask(change_email(user_id, address_in(away)))
    log.ask(create(address_in(away, "next")))
    assert home.events[-1]["occurred_at"] == NOW + ahead_ms
    assert log.partitions[away].events[-1]["occurred_at"] == NOW + followed_ms


def ahead() -> tuple[Partition, str]:
    """A partition whose handler's clock was a year ahead and has been corrected."""
    partition = registered()
    user_id = partition.events[0]["user_id"]
    partition.now += YEAR_MS
    partition.ask(update(user_id, age=35, command_id="ahead"))
    partition.now = NOW + 1_000
    return partition, user_id


def test_time_never_goes_back_unless_it_is_allowed() -> None:
    partition, user_id = ahead()
    partition.ask(update(user_id, age=36))
    assert partition.events[-1]["occurred_at"] == NOW + YEAR_MS
    assert partition.restored().last_time == NOW + YEAR_MS


def test_a_partition_returns_to_the_clock_and_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a restore without the setting, and ids are still remembered."""
    partition, user_id = ahead()
    returning = Overlay(partition.state, now=partition.now, most_lead_ms=MINUTE_MS)
    monkeypatch.setattr(partition, "overlay", lambda: returning)
    partition.ask(update(user_id, age=36, command_id="back"))
    monkeypatch.undo()
    partition.state = partition.restored()
    assert partition.state.last_time == NOW + 1_000
    partition.now += 1_000
    assert partition.ask(update(user_id, age=35, command_id="ahead"))["repeated"]
    partition.ask(update(user_id, age=37, command_id="later"))
    assert [event["occurred_at"] - NOW for event in partition.events] == [0, YEAR_MS, 1_000, 2_000]
    for lead_ms, holds in ((0, False), (MINUTE_MS, True)):
        checks = LogChecks(PARTITIONS, lead_ms)
        entries = [
            Entry(partition.number, at, event["event_id"], event)
            for at, event in enumerate(partition.events)
        ]
        checks.history(partition.number, entries)
        assert checks.time.holds == holds
        assert len(checks.time.examples) == (0 if holds else 1)
