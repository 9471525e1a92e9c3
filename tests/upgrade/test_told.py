"""The comparison of answers with the log finds what it is for, and nothing where all is right."""

from typing import Any

import pytest

from schemas.records import (
    ACCEPTED,
    DELETE_USER,
    REJECTED,
    USER_DELETED,
    CommandOutcome,
    UserCommand,
    UserEvent,
)
from tests.samples.events import event_of, user_id_of
from tests.samples.given import create, update
from tests.upgrade.told import Told, wrong_answers, wrong_events

JANE, TAKEN = "jane@example.com", "user_already_exists"
USER_ID = user_id_of(JANE)


def told(
    command: UserCommand, version: int | None = None, code: str | None = None, **fields: Any
) -> Told:
    """Return a command with its answer: accepted with a version, or rejected with a code."""
    status = ACCEPTED if code is None else REJECTED
    answer = {"status": status, "user_id": USER_ID, "version": version, "code": code}
    return Told(command, answer | fields)


def outcome(one: Told, **fields: Any) -> CommandOutcome:
    """Return the outcome on the log that the answer was made from."""
    decided: Any = {"command_id": one.command_id, "repeated": False, **one.answer, **fields}
    return decided  # type: ignore[no-any-return]


def deletion(command_id: str) -> UserCommand:
    return {"command_id": command_id, "issued_at": 0, "kind": DELETE_USER, "user_id": USER_ID}


CREATED = told(create(JANE, "Jane", command_id="c1"), 1)
UPDATED = told(update(USER_ID, "Janet", command_id="c2"), 2)
DELETED = told(deletion("c3"), 3)
REFUSED = told(create(JANE, "Joan", command_id="c4"), code=TAKEN)
ALL = [CREATED, UPDATED, DELETED, REFUSED]
HISTORY = [
    event_of(JANE, 1, command_id="c1", name="Jane"),
    event_of(JANE, 2, command_id="c2", name="Janet"),
    event_of(JANE, 3, command_id="c3", type=USER_DELETED, gone=True),
]


def test_a_log_that_has_what_was_told_is_right() -> None:
    repeated = outcome(UPDATED, repeated=True)
    assert wrong_answers([*ALL, UPDATED], [*map(outcome, ALL), repeated]) == []
    assert wrong_events([*ALL, UPDATED], HISTORY) == []


@pytest.mark.parametrize(
    ("answers", "outcomes", "wrong"),
    [
        (ALL, [outcome(one) for one in ALL[1:]], ["CreateUser c1: decided 0 times"]),
        (ALL, list(map(outcome, [*ALL, UPDATED])), ["UpdateUser c2: decided 2 times"]),
        ([CREATED], [outcome(CREATED, version=2)], ["CreateUser c1: not what its sender was told"]),
        ([], [outcome(CREATED)], ["c1: decided without being sent"]),
    ],
)
def test_answers_that_the_log_contradicts_are_found(
    answers: list[Told], outcomes: list[CommandOutcome], wrong: list[str]
) -> None:
    assert wrong_answers(answers, outcomes) == wrong


def test_rejections_that_no_sender_can_cause_are_found() -> None:
    conflict = told(update(USER_ID, "J", command_id="c5"), code="version_conflict")
    assert wrong_answers([conflict], [outcome(conflict)]) == ["UpdateUser c5: version_conflict"]


@pytest.mark.parametrize(
    ("history", "wrong"),
    [
        (HISTORY[:2], "c3: 0 events"),
        ([*HISTORY, HISTORY[1]], "c2: 2 events"),
        ([*HISTORY, event_of(JANE, 4, command_id="c9")], "c9: an event that was not accepted"),
        ([event_of(JANE, 1, command_id="c1", name="Joan"), *HISTORY[1:]], "another state"),
        ([event_of(JANE, 1, command_id="c1", name="Jane", issued_by="eve")], "someone else"),
        ([HISTORY[0], event_of(JANE, 3, command_id="c2", name="Janet")], "event of version 3"),
    ],
)
def test_events_that_do_not_follow_from_the_commands_are_found(
    history: list[UserEvent], wrong: str
) -> None:
    assert any(wrong in one for one in wrong_events(ALL, history))
