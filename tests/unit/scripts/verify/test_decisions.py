"""`rollbook verify` detects a violation of every promise about decisions."""

from collections.abc import Iterable
from typing import Any

import pytest

from schemas.errors import Poisoned
from schemas.letters import Letters, letter_of
from schemas.records import CommandOutcome, DeadLetter
from scripts.verify.checks.decisions import (
    Command,
    Decided,
    DecisionChecks,
    Open,
)
from scripts.verify.checks.log import LogChecks
from scripts.verify.facts import Entry, last_decided
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
    commands = other.pop("commands", asked())
    letters: list[DeadLetter] = other.pop("letters", [])
    settled = frozenset(other.pop("settled", ()))
    place = {"committed": 5, "commands_end": 5} | other
    checks = DecisionChecks(window_commands=1, window_ms=1000)
    for at, answer in enumerate(outcomes):
        checks.outcome_entry(Entry(HOME, at, answer["command_id"], answer))
    checks.partition(
        Decided(HOME, log.history(HOME, as_history(events)), outcomes, commands, **place)
    )
    checks.finish(Letters(letters), "user-commands", settled)
    return checks


def asked(numbers: Iterable[int] = range(5), **other: Any) -> list[Command]:
    """Return commands at these offsets; `other` has another id, or may wait, for some."""
    ids, may_wait = other.get("ids", {}), other.get("may_wait", ())
    return [Command(at, ids.get(at, f"c{at + 1}"), may_wait=at in may_wait) for at in numbers]


UNANSWERED = [*STORY[:2], *STORY[3:]]
OUT_OF_ORDER = [STORY[0], STORY[1], STORY[3], STORY[2], STORY[4]]
FORGED_AT_THE_END = [*FACTS, event(4, 4)]


def test_a_valid_log_of_decisions_passes() -> None:
    """A creation, updates, a rejection and a no-op, each with its command, outcome and event."""
    checks = decided()
    assert broken(checks.checks()) == []
    assert checks.effect.looked_at == 4
    assert checks.cause.looked_at == 3


@pytest.mark.parametrize(
    "story",
    [
        # What the handler decided during the reading.
        {"committed": 4, "cut": 2},
        {"facts": FORGED_AT_THE_END, "cut": 3},
        # Retention has removed outcomes and commands, and their events are still there.
        {
            "outcomes": STORY[3:],
            "commands": asked(range(1, 5)),
            "commands_begin": 1,
            "outcomes_begin": 3,
        },
        {"outcomes": [], "commands": asked(range(1, 5)), "outcomes_begin": 5},
        # A change of address waits for another partition.
        {"outcomes": OUT_OF_ORDER, "commands": asked(may_wait={2})},
    ],
)
def test_what_is_not_a_violation_is_not_reported(story: dict[str, Any]) -> None:
    assert broken(decided(**story).checks()) == []


@pytest.mark.parametrize(
    ("story", "promise", "example"),
    [
        ({"outcomes": UNANSWERED}, "answered", "command 2 was never answered"),
        (
            {"outcomes": [*STORY, outcome(4, 3, 3, command_id="c5", repeated=True)]},
            "answered",
            "answered twice",
        ),
        ({"commands": asked((0, 1, 3, 4))}, "asked", "no command 2"),
        ({"commands": asked(ids={2: "other"})}, "asked", ""),
        ({"committed": 4}, "asked", "beyond the committed offset"),
        ({"committed": 6}, "offsets", "beyond the end"),
        ({"committed": -1, "cut": 0}, "offsets", "no offset"),
        ({"outcomes": OUT_OF_ORDER}, "order", "command 2 answered after 3"),
        ({"facts": FORGED_AT_THE_END}, "cause", "seq 4"),
        ({"outcomes": [STORY[0], rejected(1, 2), *STORY[2:]]}, "cause", "seq 2"),
        ({"facts": FACTS[:2]}, "effect", "version 3"),
        ({"outcomes": [*STORY[:4], outcome(4, 3, 4, command_id="c5")]}, "effect", "version 4"),
    ],
)
def test_a_flaw_breaks_only_its_promise(story: dict[str, Any], promise: str, example: str) -> None:
    checks = decided(**story)
    assert example in only(checks, getattr(checks, promise))


def test_a_dead_letter_is_an_answer_only_from_the_handler() -> None:
    """Its letter names an unreadable command; a projector's letter does not count."""
    commands = asked(ids={2: None})
    place = ("user-commands", HOME, 2)
    letter = letter_of(*place, reader="handler", poison=Poisoned("", code="bad_avro"), now=0)
    checks = decided(UNANSWERED, commands=commands, letters=[letter])
    assert broken(checks.checks()) == []
    assert checks.letters.found == 1
    settled: Any = letter | {"settled": "sent"}
    checks = decided(UNANSWERED, commands=commands, letters=[letter, settled])
    assert broken(checks.checks()) == []
    assert (checks.letters.found, checks.letters.looked_at) == (0, 1)
    other: Any = letter | {"reader": "projector:postgres"}
    checks = decided(UNANSWERED, commands=commands, letters=[other])
    only(checks, checks.answered)


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


def test_a_command_id_accepted_twice_is_found() -> None:
    """Within the window; beyond it the handler may have forgotten the id."""
    commands = asked(ids={3: "c4", 4: "c4"})
    facts = [*FACTS[:2], FACTS[2] | {"command_id": "c4"}]
    twice = [*STORY[:4], outcome(4, 3, 3, command_id="c4")]
    checks = decided(twice, facts, commands=commands)
    assert "id c4" in only(checks, checks.once)
    late = [*twice[:4], outcome(4, 3, 3, command_id="c4", decided_at=10_000)]
    assert broken(decided(late, facts, commands=commands).checks()) == []


def test_an_unanswered_change_needs_messages_in_transit() -> None:
    """Or an answer that came after the outcomes were read."""
    commands = asked(may_wait={2})
    checks = decided(UNANSWERED, commands=commands)
    assert checks.waiting() == [Open(HOME, 2, "c3", may_wait=True)]
    only(checks, checks.answered)
    settled = decided(UNANSWERED, commands=commands, settled=checks.waiting())
    assert broken(settled.checks()) == []


def test_the_acceptances_of_an_erased_user_have_no_events_left() -> None:
    """Only below its marker, and only of that user."""
    outcomes = [*STORY, outcome(5, 4, 4)]
    facts = [event(4, 4) | {"command_id": "c6"}]
    commands = asked(range(6))
    place: dict[str, Any] = {"commands": commands, "committed": 6, "commands_end": 6}
    assert broken(decided(outcomes, facts, erased={ID: 4}, **place).checks()) == []
    for erased in ({}, {ID: 2}, {"another": 4}):
        checks = decided(outcomes, facts, erased=erased, **place)
        assert checks.effect.promise in broken(checks.checks())


def test_two_answers_at_one_offset_are_found_unless_the_first_was_forgotten() -> None:
    """A grant sent again after a long outage is refused once more."""
    checks = decided([*STORY, outcome(4, 3, 3, command_id="c5", repeated=True, decided_at=9000)])
    assert broken(checks.checks()) == []


def test_what_is_decided_during_the_reading_is_left_out() -> None:
    """Also a change of address, whose command is older than the offset before the reading."""
    facts = LogChecks(PARTITIONS).history(HOME, as_history(FACTS[:2]))
    assert last_decided(facts, STORY[:2], committed=2) == 2
    assert last_decided(facts, [*STORY[:2], outcome(5, 3, 3)], committed=2) == 2
    assert last_decided(facts, [*STORY[:2], outcome(0, 3, 3)], committed=2) == 2
    assert last_decided([], STORY, committed=0) == 0
