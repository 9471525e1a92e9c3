"""`rollbook verify` detects a violation of every promise about decisions."""

from typing import Any

import pytest

from schemas.records import CommandOutcome, DeadLetter
from scripts.verify.decision_checks import Command, Decided, DecisionChecks, Open
from scripts.verify.facts import Entry
from scripts.verify.log_checks import LogChecks
from tests.unit.scripts.verify.forged import HOME, ID, PARTITIONS, as_history, broken, event, only


def outcome(offset: int, seq: int, version: int | None = 1, **other: Any) -> CommandOutcome:
    answer: Any = {
        "command_id": f"c{offset + 1}",
        "command_offset": offset,
        "decided_at": 1000 + offset,
        "digest": b"",
        "status": "accepted",
        "user_id": ID,
        "version": version,
        "seq": seq,
        "code": None,
        "message": None,
        "repeated": False,
    }
    answer.update(other)
    result: CommandOutcome = answer
    return result


def rejected(offset: int, seq: int) -> CommandOutcome:
    return outcome(offset, seq, None, status="rejected", code="user_not_found", user_id=None)


# Created, updated, refused, a no-op, updated: offsets 0–4, seqs 1–3.
STORY = [
    outcome(0, 1, 1),
    outcome(1, 2, 2),
    rejected(2, 2),
    outcome(3, 2, 2),
    outcome(4, 3, 3, command_id="c5"),
]
FACTS = [event(1), event(2, 2), event(3, 3) | {"command_id": "c5"}]


def decided(
    outcomes: list[CommandOutcome] = STORY, facts: list[Any] | None = None, **other: Any
) -> DecisionChecks:
    log = LogChecks(PARTITIONS)
    events = FACTS if facts is None else facts
    commands = other.pop("commands", [Command(at, f"c{at + 1}") for at in range(5)])
    letters: list[DeadLetter] = other.pop("letters", [])
    settled = frozenset(other.pop("settled", ()))
    place = {"committed": 5, "commands_end": 5} | other
    checks = DecisionChecks(window_commands=100, window_ms=1000)
    for at, answer in enumerate(outcomes):
        checks.outcome_entry(Entry(HOME, at, answer["command_id"], answer))
    checks.partition(
        Decided(HOME, log.history(HOME, as_history(events)), outcomes, commands, **place)
    )
    checks.finish(letters, "user-commands", settled)
    return checks


def test_a_valid_log_of_decisions_passes() -> None:
    """A creation, updates, a rejection and a no-op, each with its command, outcome and event."""
    checks = decided()
    assert broken(checks.checks()) == []
    assert checks.effect.looked_at == 4
    assert checks.cause.looked_at == 3


def test_an_unanswered_command_is_found() -> None:
    """Every command below the committed offset has an answer."""
    checks = decided([*STORY[:2], *STORY[3:]])
    assert "command 2 was never answered" in only(checks, checks.answered)


def test_a_dead_letter_is_an_answer_only_from_the_handler() -> None:
    """Its letter names an unreadable command; a projector's letter does not count."""
    unread = [*STORY[:2], *STORY[3:]]
    commands = [Command(at, None if at == 2 else f"c{at + 1}") for at in range(5)]
    letter: DeadLetter = {
        "topic": "user-commands",
        "partition": HOME,
        "offset": 2,
        "reader": "handler",
        "error": "bad_avro",
        "message": "",
        "occurred_at": 0,
    }
    checks = decided(unread, commands=commands, letters=[letter])
    assert broken(checks.checks()) == []
    assert checks.letters.found == 1
    settled: Any = letter | {"settled": "sent"}
    checks = decided(unread, commands=commands, letters=[letter, settled])
    assert broken(checks.checks()) == []
    assert (checks.letters.found, checks.letters.looked_at) == (0, 1)
    other: Any = letter | {"reader": "projector:postgres"}
    checks = decided(unread, commands=commands, letters=[other])
    only(checks, checks.answered)


def test_a_command_answered_twice_is_found() -> None:
    """There is one answer per command, even if the second is marked as repeated."""
    twice = [*STORY, outcome(4, 3, 3, command_id="c5", repeated=True)]
    checks = decided(twice)
    assert "answered twice" in only(checks, checks.answered)


def test_an_answer_without_a_command_is_found() -> None:
    """An outcome at an offset without a command, or with another command's id."""
    checks = decided(commands=[Command(at, f"c{at + 1}") for at in (0, 1, 3, 4)])
    assert "no command 2" in only(checks, checks.asked)
    checks = decided(
        commands=[Command(at, "other" if at == 2 else f"c{at + 1}") for at in range(5)]
    )
    only(checks, checks.asked)


def test_an_answer_beyond_the_committed_offset_is_found() -> None:
    """Outcome and offset are committed together, unless the handler decided more meanwhile."""
    checks = decided(committed=4)
    assert "beyond the committed offset" in only(checks, checks.asked)
    assert broken(decided(committed=4, cut=2).checks()) == []


def test_offsets_beyond_the_end_or_missing_are_found() -> None:
    """A handler cannot have read beyond the end of the log, or answered without an offset."""
    checks = decided(committed=6)
    assert "beyond the end" in only(checks, checks.offsets)
    checks = decided(committed=-1, cut=0)
    assert "no offset" in only(checks, checks.offsets)


@pytest.mark.parametrize(
    "forged",
    [
        {"code": "user_not_found"},
        {"status": "rejected"},
        {"status": "maybe"},
        {"seq": None},
        {"user_id": None},
        {"version": None},
    ],
)
def test_an_incomplete_outcome_is_found(forged: dict[str, Any]) -> None:
    """An acceptance has the user and the version; a rejection has the reason."""
    checks = DecisionChecks(100, 1000)
    answer: Any = {**STORY[0], **forged}
    checks.outcome_entry(Entry(HOME, 0, "c1", answer))
    only(checks, checks.form)


def test_an_outcome_under_another_key_is_found() -> None:
    """The key is the index of decided ids."""
    checks = DecisionChecks(100, 1000)
    checks.outcome_entry(Entry(HOME, 0, "other", STORY[0]))
    only(checks, checks.form)


def test_answers_out_of_order_are_found() -> None:
    """Commands are decided in the order of the log."""
    checks = decided([STORY[0], STORY[1], STORY[3], STORY[2], STORY[4]])
    assert "command 2 answered after 3" in only(checks, checks.order)


def test_a_command_id_accepted_twice_is_found() -> None:
    """Within the window; beyond it the handler may have forgotten the id."""
    commands = [Command(at, "c4" if at in {3, 4} else f"c{at + 1}") for at in range(5)]
    facts = [*FACTS[:2], FACTS[2] | {"command_id": "c4"}]
    twice = [*STORY[:4], outcome(4, 3, 3, command_id="c4")]
    checks = decided(twice, facts, commands=commands)
    assert "id c4" in only(checks, checks.once)
    late = [*twice[:4], outcome(4, 3, 3, command_id="c4", decided_at=10_000)]
    assert broken(decided(late, facts, commands=commands).checks()) == []


def test_an_event_without_an_acceptance_is_found() -> None:
    """Forged at the end, or in the middle without a command."""
    checks = decided(facts=[*FACTS, event(4, 4)])
    assert "seq 4" in only(checks, checks.cause)
    assert broken(decided(facts=[*FACTS, event(4, 4)], cut=3).checks()) == []
    stolen = [STORY[0], rejected(1, 2), *STORY[2:]]
    checks = decided(stolen)
    assert "seq 2" in only(checks, checks.cause)


def test_an_acceptance_without_its_event_is_found() -> None:
    """A version without an event, or another user's event."""
    checks = decided(facts=FACTS[:2])
    assert "version 3" in only(checks, checks.effect)
    wrong = [*STORY[:4], outcome(4, 3, 4, command_id="c5")]
    checks = decided(wrong)
    assert "version 4" in only(checks, checks.effect)


def test_records_removed_by_retention_are_not_a_violation() -> None:
    """Events whose outcomes and commands have expired are still valid."""
    commands = [Command(at, f"c{at + 1}") for at in (1, 2, 3, 4)]
    checks = decided(STORY[3:], commands=commands, commands_begin=1, outcomes_begin=3)
    assert broken(checks.checks()) == []
    assert broken(decided([], commands=commands, outcomes_begin=5).checks()) == []


def test_a_change_of_address_may_be_answered_late() -> None:
    """It waits for another partition; any other command is answered in order."""
    late = [STORY[0], STORY[1], STORY[3], STORY[2], STORY[4]]
    commands = [Command(at, f"c{at + 1}", may_wait=at == 2) for at in range(5)]
    assert broken(decided(late, commands=commands).checks()) == []


def test_an_unanswered_change_needs_messages_in_transit() -> None:
    """Or an answer that came after the outcomes were read."""
    commands = [Command(at, f"c{at + 1}", may_wait=at == 2) for at in range(5)]
    unread = [*STORY[:2], *STORY[3:]]
    checks = decided(unread, commands=commands)
    assert checks.waiting() == [Open(HOME, 2, "c3", may_wait=True)]
    only(checks, checks.answered)
    settled = decided(unread, commands=commands, settled=checks.waiting())
    assert broken(settled.checks()) == []


def test_the_acceptances_of_an_erased_user_have_no_events_left() -> None:
    """Only below its marker, and only of that user."""
    outcomes = [*STORY, outcome(5, 4, 4)]
    facts = [event(4, 4) | {"command_id": "c6"}]
    commands = [Command(at, f"c{at + 1}") for at in range(6)]
    place: dict[str, Any] = {"commands": commands, "committed": 6, "commands_end": 6}
    assert broken(decided(outcomes, facts, erased={ID: 4}, **place).checks()) == []
    for erased in ({}, {ID: 2}, {"another": 4}):
        checks = decided(outcomes, facts, erased=erased, **place)
        assert checks.effect.promise in broken(checks.checks())


def test_two_answers_at_one_offset_are_found_unless_the_first_was_forgotten() -> None:
    """A grant sent again after a long outage is refused once more."""
    checks = decided([*STORY, outcome(4, 3, 3, command_id="c5", repeated=True, decided_at=9000)])
    assert broken(checks.checks()) == []
