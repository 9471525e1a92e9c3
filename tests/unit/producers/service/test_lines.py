"""The lines of a stream, however its bytes arrive."""

import asyncio
from collections.abc import AsyncIterator

import hypothesis
import pytest
from hypothesis import strategies

from producers.service.bodies import command_of_line
from producers.service.stream import LINE_MAX_BYTES, _lines
from runtime.http import Caller, Scope
from schemas.errors import Rejected
from schemas.records import ERASE_USER

ID = "018bcfe5-6800-7abc-8000-000000000000"
CLERK = Caller("clerk", frozenset({Scope.COMMANDS}))


def lines(*chunks: bytes) -> list[bytes | None]:
    async def read() -> list[bytes | None]:
        async def body() -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

        return [line async for arrived in _lines(body()) for line in arrived]

    return asyncio.run(read())


@hypothesis.given(strategies.lists(strategies.binary(max_size=9)))
def test_where_chunks_end_makes_no_difference(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    expected = whole.split(b"\n")
    assert lines(*chunks) == (expected if expected[-1] else expected[:-1])


@pytest.mark.parametrize("step", [1_000, 65_536, 10**6])
def test_a_line_that_is_too_long_costs_no_memory_and_no_other_line(step: int) -> None:
    text = b"a\n" + b"x" * (3 * LINE_MAX_BYTES) + b"\nb\n" + b"x" * (LINE_MAX_BYTES + 1)
    chunks = [text[start : start + step] for start in range(0, len(text), step)]
    assert lines(*chunks) == [b"a", None, b"b", None]


@pytest.mark.parametrize(
    ("line", "code", "field"),
    [
        (b"x", "malformed_body", None),
        (b"{}", "invalid_command", "kind"),
        (b'{"kind": 1}', "invalid_command", "kind"),
        (b'{"kind": "Create"}', "invalid_command", "kind"),
        (b'{"kind": "CreateUser", "user_id": "x"}', "unknown_field", None),
        (b'{"kind": "CreateUser", "email": "a@example.com"}', "invalid_command", "name"),
        (b'{"kind": "UpdateUser", "user_id": "x", "age": 3}', "invalid_command", "user_id"),
        (b'{"kind": "DeleteUser", "command_id": null}', "invalid_command", "command_id"),
    ],
)
def test_a_wrong_line_is_refused(line: bytes, code: str, field: str | None) -> None:
    with pytest.raises(Rejected) as refused:
        command_of_line(line, CLERK)
    assert (refused.value.code, refused.value.field) == (code, field)


def test_a_line_needs_the_scope_of_its_kind_and_carries_the_callers_name() -> None:
    line = f'{{"kind": "EraseUser", "user_id": "{ID}"}}'.encode()
    with pytest.raises(Rejected, match="scope"):
        command_of_line(line, CLERK)
    may_erase = Caller("officer", frozenset({Scope.COMMANDS, Scope.ERASE}))
    command = command_of_line(line, may_erase)
    assert (command["kind"], command.get("issued_by")) == (ERASE_USER, "officer")
