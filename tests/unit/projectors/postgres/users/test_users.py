"""The cursors of user lists, and users as rows of a binary COPY."""

import struct
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projectors.postgres.store.copy_rows import EPOCH_MS
from projectors.postgres.store.user_view import UserView
from projectors.postgres.users.queries import parse_cursor, write_cursor
from projectors.postgres.users.writer import pack_user
from projectors.promises.events import user_event, user_id
from schemas.errors import Rejected


def view(age: int, user_id: str) -> UserView:
    """Return a user of this age."""
    then = datetime(2026, 1, 1, tzinfo=UTC)
    return UserView(user_id, "jane@example.com", "Jane", age, "adult", then, then, 1)


@given(st.integers(0, 150), st.uuids())
def test_a_cursor_has_the_age_and_id_of_its_user(age: int, user_id: UUID) -> None:
    assert parse_cursor(write_cursor(view(age, str(user_id)))) == (age, str(user_id))


@pytest.mark.parametrize(
    "text", ["", "x", "ÄÖÜ", "AAAA", write_cursor(view(1, user_id(1))) + "A", "!" * 27]
)
def test_an_invalid_cursor_is_refused(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        parse_cursor(text)
    assert refused.value.code == "invalid_cursor"


def values(row: bytes) -> list[bytes | None]:
    """Return the values of a packed row; None for a null."""
    (count,), rest = struct.unpack_from(">h", row), row[2:]
    found: list[bytes | None] = []
    for _ in range(count):
        (length,), rest = struct.unpack_from(">i", rest), rest[4:]
        found.append(None if length < 0 else rest[:length])
        rest = rest[max(length, 0) :]
    assert rest == b""
    return found


def test_a_user_is_packed_as_seven_values() -> None:
    event = user_event(1, name="Zoë", age=19)
    assert event["user"] is not None
    assert values(pack_user(event)) == [
        UUID(event["user_id"]).bytes,
        struct.pack(">q", 1),
        b"user1@example.com",
        "Zoë".encode(),
        struct.pack(">i", 19),
        struct.pack(">q", (event["user"]["created_at"] - EPOCH_MS) * 1000),
        struct.pack(">q", (event["occurred_at"] - EPOCH_MS) * 1000),
    ]


def test_a_deleted_user_is_packed_with_nulls() -> None:
    event = user_event(1, 2, gone=True)
    assert values(pack_user(event))[2:6] == [None] * 4
