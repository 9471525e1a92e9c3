"""Letters and their settlements, folded from their log; which records are letters."""

from typing import Any

import pytest

from projectors.dead_letters.reader import letter_fields
from schemas.errors import Poisoned
from schemas.letters import (
    APPLIED,
    DISCARDED,
    SUPERSEDED,
    Letter,
    Letters,
    is_letter,
    letter_key,
    letter_of,
    settlement,
)
from schemas.records import DeadLetter

POSTGRES = "projector:postgres"
BAD = Poisoned("it is not valid Avro", code="bad_avro")


def letter(
    offset: int = 5, reader: str = POSTGRES, now: int = 1_000, poison: Poisoned = BAD
) -> DeadLetter:
    return letter_of("user-events", 3, offset, reader=reader, poison=poison, now=now)


def folded(*records: DeadLetter) -> list[Letter]:
    return list(Letters(records))


def settled(record: DeadLetter, how: str, now: int = 2_000) -> DeadLetter:
    [one] = folded(record)
    return settlement(one, how, now)


def test_a_letter_is_open_until_it_is_settled() -> None:
    [one] = folded(letter())
    assert (one.is_open, one.settled_at) == (True, None)
    [one] = folded(letter(), settled(letter(), APPLIED))
    assert (one.is_open, one.settled, one.settled_at) == (False, APPLIED, 2_000)
    assert (one.occurred_at, one.error) == (1_000, "bad_avro")


def test_a_settlement_counts_after_its_letter_has_left_the_log() -> None:
    [one] = folded(settled(letter(), SUPERSEDED))
    assert (one.settled, one.settled_at) == (SUPERSEDED, 2_000)


def test_each_reader_has_its_own_letter() -> None:
    elsewhere = "projector:elasticsearch"
    letters = folded(letter(), letter(reader=elsewhere), settled(letter(), APPLIED))
    assert [(one.reader, one.is_open) for one in letters] == [
        (POSTGRES, False),
        (elsewhere, True),
    ]


def test_the_oldest_letters_come_first_however_often_they_are_written() -> None:
    letters = folded(letter(5), letter(6), letter(5, now=3_000), letter(4, now=4_000))
    assert [(one.offset, one.occurred_at) for one in letters] == [
        (5, 3_000),
        (6, 1_000),
        (4, 4_000),
    ]


@pytest.mark.parametrize("how", [APPLIED, SUPERSEDED])
def test_a_letter_refused_again_after_it_was_applied_is_open_again(how: str) -> None:
    """A new version of the read model lacks the record."""
    [one] = folded(letter(), settled(letter(), how), letter(now=3_000))
    assert (one.is_open, one.occurred_at) == (True, 3_000)


def test_a_discarded_letter_is_open_again_only_for_another_reason() -> None:
    """A rebuild reads every old record, and should not need another discard."""
    before = (letter(), settled(letter(), DISCARDED))
    [one] = folded(*before, letter(now=3_000))
    assert (one.is_open, one.settled, one.occurred_at) == (False, DISCARDED, 1_000)
    other = Poisoned("PostgreSQL cannot store it", code="postgres_refused")
    [one] = folded(*before, letter(now=3_000, poison=other))
    assert (one.is_open, one.error) == (True, "postgres_refused")
    [one] = folded(*before, settled(letter(), APPLIED, 4_000), letter(now=5_000))
    assert one.is_open


def test_a_letter_of_the_first_schema_is_open() -> None:
    old: Any = {name: value for name, value in letter().items() if name != "settled"}
    [one] = folded(old)
    assert one.is_open


@pytest.mark.parametrize(
    "changes",
    [
        {"partition": -1},
        {"partition": 2**31},
        {"offset": -1},
        {"occurred_at": -1},
        {"occurred_at": 2**62},
    ],
)
def test_a_record_with_impossible_numbers_is_not_a_letter(changes: dict[str, Any]) -> None:
    found: Any = letter() | changes
    assert is_letter(letter(), b"user-events:3:5")
    assert not is_letter(found, letter_key(found).encode())


@pytest.mark.parametrize("key", [None, b"", b"user-events:3:6", b"user-events:3", b"\xff"])
def test_a_record_under_another_key_is_not_a_letter(key: bytes | None) -> None:
    assert not is_letter(letter(), key)


def test_a_letter_is_printed_with_its_place_as_one_text_and_times_as_dates() -> None:
    [one] = folded(letter(), settled(letter(), APPLIED))
    fields = letter_fields(one)
    assert fields["letter"] == "user-events:3:5"
    assert fields["occurred_at"] == "1970-01-01T00:00:01.000Z"
    assert fields["settled_at"] == "1970-01-01T00:00:02.000Z"
    assert letter_fields(folded(letter())[0])["settled_at"] is None
