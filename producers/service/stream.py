"""Many commands in one request: lines of JSON in, lines of JSON out, in bounded memory.

A bounded number of lines has been read and not answered, or answered and not yet taken by the
caller. At that number no further line is read, so the caller's connection fills and it has to wait.
"""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from producers.client import AsyncCommandClient, SentCommand
from producers.client.outcomes import OUTCOME_FIELDS
from producers.service.bodies import command_of_line
from runtime.http import Caller
from schemas.errors import NotInTime, Rejected, RollbookError, Unavailable
from schemas.records import REJECTED, UserCommand

LINE_MAX_BYTES: Final = 65_536
MOST_UNANSWERED: Final = 2_000

# As for `users import`: a handler that restarts must not end the stream.
_DECIDE_SECONDS: Final = 60.0
# After so many lines, other requests get their turn.
_LINES_A_STEP: Final = 50
# At most so many commands go to the broker together: what it costs depends on the requests to it.
_GROUP_COMMANDS: Final = 500


class StreamedAnswers(StreamingResponse):
    """A response whose body is written while the request's body is still being read.

    Starlette's own would read the request meanwhile, to notice that the caller is gone, and so take
    lines away. Here whoever reads the lines notices it.
    """

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the response."""
        await self.stream_response(send)


class CommandStream:
    """The commands of one request and their answers; it serves one request.

    Once `stopping` is set, no further line is read.
    """

    def __init__(self, client: AsyncCommandClient, caller: Caller, stopping: asyncio.Event) -> None:
        self._client = client
        self._caller = caller
        self._stopping = stopping
        self._places = MOST_UNANSWERED  # how many more lines may be read
        self._has_places = asyncio.Event()
        # The users of commands that are not decided yet, and an event for each decision.
        self._users: set[str] = set()
        self._decided = asyncio.Event()
        self._has_ended = False  # no further line is read
        self._undecided = 0
        self._ready: list[bytes] = []
        self._wake = asyncio.Event()

    async def answers(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the answers to the lines of `body` as they are decided."""
        reader = asyncio.create_task(self._read(body))
        reader.add_done_callback(self._on_end)
        stopping = asyncio.create_task(self._stopping.wait())
        stopping.add_done_callback(lambda _: reader.cancel())
        try:
            while self._undecided or self._ready or not self._has_ended:
                await self._wake.wait()
                self._wake.clear()
                ready, self._ready = self._ready, []
                if ready:
                    yield b"".join(ready)
                self._places += len(ready)
                self._has_places.set()
        finally:
            stopping.cancel()
            reader.cancel()
        error = None if reader.cancelled() else reader.exception()
        if error is not None and not isinstance(error, RollbookError | ClientDisconnect):
            raise error

    async def _read(self, body: AsyncIterator[bytes]) -> None:
        number = 0
        async for lines in _lines(body):
            group: list[tuple[int, UserCommand]] = []
            for line in lines:
                number += 1
                if line is None or line.strip():
                    if not self._places or len(group) == _GROUP_COMMANDS:
                        await self._send(group)
                        group = []
                    await self._take_place()
                    try:
                        group.append((number, self._command(line)))
                    except RollbookError as error:
                        self._answer(number, _failed(error))
                if number % _LINES_A_STEP == 0:
                    await asyncio.sleep(0)
            await self._send(group)

    async def _take_place(self) -> None:
        while not self._places:
            self._has_places.clear()
            await self._has_places.wait()
        self._places -= 1

    def _command(self, line: bytes | None) -> UserCommand:
        if line is None:
            raise Rejected(f"the line is longer than {LINE_MAX_BYTES} bytes", code="line_too_long")
        return command_of_line(line, self._caller)

    async def _send(self, group: list[tuple[int, UserCommand]]) -> None:
        """Send commands, each after earlier ones about the same user are decided."""
        for number, command in group:
            user_id = command.get("user_id") or ""
            while user_id in self._users:
                self._decided.clear()
                await self._decided.wait()
            try:
                sent = await self._client.start(command, _DECIDE_SECONDS)
            except RollbookError as error:
                self._answer(number, _failed(error))
                continue
            self._undecided += 1
            if user_id:
                self._users.add(user_id)
            sent.when_over(partial(self._on_outcome, number, user_id))

    def _on_outcome(self, number: int, user_id: str, sent: SentCommand) -> None:
        self._undecided -= 1
        self._users.discard(user_id)
        self._decided.set()
        try:
            fields = sent.result().as_fields()
        except RollbookError as error:
            fields = _failed(error) | {"command_id": sent.command_id}
        self._answer(number, fields)

    def _on_end(self, reader: "asyncio.Task[None]") -> None:
        """Write why lines that have no answer were not read, unless all of them were."""
        if reader.cancelled():
            stopped = Unavailable("the service is stopping", code="service_stopping")
            self._answer(None, _failed(stopped))
        elif isinstance(error := reader.exception(), RollbookError):
            self._answer(None, _failed(error))
        self._has_ended = True
        self._wake.set()

    def _answer(self, number: int | None, fields: dict[str, Any]) -> None:
        line = {"line": number, **fields}
        # A copy: thousands may wait, and the `bytes` of orjson take 4 KB each, however short.
        self._ready.append(orjson.dumps(line) + b"\n")
        self._wake.set()


def _failed(error: RollbookError) -> dict[str, Any]:
    """Return what stands in for an outcome; its status says what is known of the command."""
    if isinstance(error, Rejected):
        status = REJECTED
    elif isinstance(error, NotInTime) and error.code != "not_sent":
        status = "undecided"
    else:
        status = "not_sent"
    return dict.fromkeys(OUTCOME_FIELDS) | {
        "status": status,
        "code": error.code,
        "message": str(error),
    }


async def _lines(body: AsyncIterator[bytes]) -> AsyncIterator[list[bytes | None]]:
    """Yield the lines of `body` as they arrive, with None instead of one that is too long.

    Raises what reading raises, and then yields nothing of an unfinished line: it could be another
    command than the one that was meant.
    """
    rest, is_too_long = b"", False
    async for chunk in body:
        *lines, rest = (rest + chunk).split(b"\n")
        if lines:
            first = None if is_too_long else lines[0]
            is_too_long = False
            arrived = [first, *lines[1:]]
            yield [None if line and len(line) > LINE_MAX_BYTES else line for line in arrived]
        if len(rest) > LINE_MAX_BYTES:
            rest, is_too_long = b"", True
    if rest or is_too_long:
        yield [None if is_too_long else rest]
