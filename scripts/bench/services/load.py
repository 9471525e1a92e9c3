"""Clients of a service in closed loops: each sends a request when its last one is answered.

They share the machine with what they measure, so they are as lean as they can be: one process, one
event loop, and httptools, with which uvicorn parses too. Run them in a process of their own.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final

import httptools
import orjson
import uvloop

from schemas.errors import CheckFailed
from scripts.bench.workload.people import person
from scripts.stack.places import HOST

_WARM_UP_SECONDS: Final = 0.5
_ANSWER_SECONDS: Final = 60.0
_SEED: Final = 20_240_229
_OK: Final = 200
_CREATED: Final = 201


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked of a service; its clients are shared evenly among its `ports`.

    With a `tag`, creations of users with that tag; with `user_ids`, gets of random ones of them;
    else `GET /noop`. `key` is sent with every request; the peer needs none.
    """

    ports: Sequence[int]
    key: str = field(default="", repr=False)
    tag: str = ""
    user_ids: Sequence[str] = field(default=(), repr=False)

    @property
    def expected_status(self) -> int:
        """The status of every answer; any other ends the run."""
        return _CREATED if self.tag else _OK

    def requests(self) -> Iterator[bytes]:
        """Yield requests without end."""
        authorization = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        head = f"HTTP/1.1\r\nHost: {HOST}:{self.ports[0]}\r\n{authorization}".encode()
        if self.tag:
            for number in count():
                body = orjson.dumps(person(number, self.tag)._asdict())
                yield (
                    b"POST /users %bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (
                        head,
                        len(body),
                        body,
                    )
                )
        elif self.user_ids:
            chance = Random(_SEED)  # noqa: S311 - reproducible, not a secret
            while True:
                user_id = self.user_ids[int(chance.random() * len(self.user_ids))]
                yield b"GET /users/%b %b\r\n" % (user_id.encode(), head)
        else:
            request = b"GET /noop %b\r\n" % head
            while True:
                yield request


@dataclass(frozen=True, slots=True)
class Measured:
    """What clients saw.

    `milliseconds` are those of the answers within the measured time, `per_second` their rate.
    `answers` and `processor_seconds` of the client are of the whole run, warm-up included.
    """

    per_second: float
    milliseconds: list[float]
    answers: int
    processor_seconds: float


class _Run:
    """The clients of one run."""

    def __init__(self, target: Target, clients: int, seconds: float) -> None:
        now = time.perf_counter()
        self.requests = target.requests()
        self.expected_status = target.expected_status
        self.measured_from = now + warm_up_seconds(seconds)
        self.measured_until = self.measured_from + seconds
        self.milliseconds: list[float] = []
        self.answers = 0
        self._running = clients
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self, status: int, sent_at: float) -> bool:
        """Note an answer; return whether its client goes on."""
        now = time.perf_counter()
        self.answers += 1
        if status != self.expected_status:
            self.fail(f"an answer has the status {status} instead of {self.expected_status}")
        elif self.measured_from <= now < self.measured_until:
            self.milliseconds.append((now - sent_at) * 1000)
        elif now >= self.measured_until:
            self._running -= 1
            if not self._running and not self.over.done():
                self.over.set_result(None)
            return False
        return not self.over.done()

    def fail(self, why: str) -> None:
        """End the run."""
        if not self.over.done():
            self.over.set_exception(CheckFailed(why))


class _Client(asyncio.Protocol):
    """One connection, which is kept alive."""

    _transport: asyncio.Transport
    _sent_at = 0.0
    _is_finished = False

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._run.fail(f"an answer is not HTTP: {error}")
            self._transport.close()

    def on_message_complete(self) -> None:
        if self._run.take(self._parser.get_status_code(), self._sent_at):
            self._send()
        else:
            self._is_finished = True
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._is_finished:
            self._run.fail(f"a connection was closed: {exc or 'by the service'}")

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(next(self._run.requests))


def warm_up_seconds(seconds: float) -> float:
    """Return how long requests are sent before those that are measured for `seconds`."""
    return min(_WARM_UP_SECONDS, seconds)


def run_clients(target: Target, clients: int, seconds: float) -> Measured:
    """Have so many clients send requests for `seconds`, after some to warm up.

    Raises `CheckFailed` if any answer has another status than the expected one.
    """
    return uvloop.run(_run_clients(target, clients, seconds))


async def _run_clients(target: Target, clients: int, seconds: float) -> Measured:
    person(0)  # the first call makes up the names, which takes a second
    began = time.process_time()
    run, loop = _Run(target, clients, seconds), asyncio.get_running_loop()
    transports = []
    try:
        for number in range(clients):
            port = target.ports[number % len(target.ports)]
            transports.append((await loop.create_connection(lambda: _Client(run), HOST, port))[0])
        async with asyncio.timeout(2 * seconds + _ANSWER_SECONDS):
            await run.over
    except TimeoutError:
        raise CheckFailed("requests were not answered within a minute") from None
    finally:
        for transport in transports:
            transport.close()
    processor_seconds = time.process_time() - began
    per_second = len(run.milliseconds) / seconds
    return Measured(per_second, run.milliseconds, run.answers, processor_seconds)
