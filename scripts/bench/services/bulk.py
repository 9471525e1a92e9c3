"""Creations without a request for each: from Python, in one request, and by `users import`."""

import asyncio
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count as numbers_from
from pathlib import Path
from typing import Any, Final

import httptools
import orjson
import uvloop

from producers.client import AsyncCommandClient
from runtime.settings import Settings
from schemas.errors import CheckFailed
from schemas.records import CREATE_USER
from scripts.bench.services.load import Measured, warm_up_seconds
from scripts.bench.workload.people import people, person
from scripts.bench.workload.processes import ROLLBOOK, environment_of
from scripts.stack.places import HOST

_PIECE_BYTES: Final = 65_536
_STREAM_SECONDS: Final = 600.0


def run_python_clients(settings: Settings, clients: int, seconds: float, tag: str) -> Measured:
    """Have so many callers of one `AsyncCommandClient` create users, as `run_clients` does."""
    return uvloop.run(_run_python_clients(settings, clients, seconds, tag))


async def _run_python_clients(
    settings: Settings, clients: int, seconds: float, tag: str
) -> Measured:
    person(0)  # the first call makes up the names, which takes a second
    milliseconds, answers, numbers = list[float](), 0, numbers_from(0)
    async with AsyncCommandClient(settings) as client:
        began = time.process_time()
        measured_from = time.perf_counter() + warm_up_seconds(seconds)
        measured_until = measured_from + seconds

        async def create_users() -> None:
            nonlocal answers
            now = 0.0
            while now < measured_until:
                one, sent_at = person(next(numbers), tag), time.perf_counter()
                outcome = await client.create_user(one.email, one.name, one.age)
                if not outcome.accepted:
                    raise CheckFailed(f"a creation was refused: {outcome.code}")
                now = time.perf_counter()
                answers += 1
                if measured_from <= now < measured_until:
                    milliseconds.append((now - sent_at) * 1000)

        await asyncio.gather(*(create_users() for _ in range(clients)))
        processor_seconds = time.process_time() - began
    return Measured(len(milliseconds) / seconds, milliseconds, answers, processor_seconds)


class _Stream(asyncio.Protocol):
    """One `POST /commands`: sends lines as fast as they are taken, and reads the answers."""

    _transport: asyncio.Transport

    def __init__(self, head: bytes, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._head, self._body = head, memoryview(body)
        self._parser = httptools.HttpResponseParser(self)
        self._writable = asyncio.Event()
        self._writable.set()
        self.answers: list[bytes] = []
        self.status: asyncio.Future[int] = loop.create_future()
        self._sending: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        self._transport.write(self._head)
        for start in range(0, len(self._body), _PIECE_BYTES):
            await self._writable.wait()
            self._transport.write(self._body[start : start + _PIECE_BYTES])

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, part: bytes) -> None:
        self.answers.append(part)

    def on_message_complete(self) -> None:
        if not self.status.done():
            self.status.set_result(self._parser.get_status_code())
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.status.done():
            self.status.set_exception(CheckFailed(f"the stream was cut: {exc}"))


def stream_commands(port: int, key: str, count: int, tag: str) -> float:
    """Send `count` creations in one request; return the seconds until the last is answered.

    Raises `CheckFailed` unless all are accepted.
    """
    body = b"".join(_lines(count, tag, kind=CREATE_USER))
    return uvloop.run(_stream(port, key, body, count))


async def _stream(port: int, key: str, body: bytes, count: int) -> float:
    head = (
        f"POST /commands HTTP/1.1\r\nHost: {HOST}:{port}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/x-ndjson\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    _, stream = await loop.create_connection(lambda: _Stream(head.encode(), body), HOST, port)
    async with asyncio.timeout(_STREAM_SECONDS):
        status = await stream.status
    seconds = time.perf_counter() - began
    accepted = b"".join(stream.answers).count(b'"status":"accepted"')
    if accepted != count:
        raise CheckFailed(f"{accepted:,} of {count:,} creations were accepted (status {status})")
    return seconds


def import_users(settings: Settings, count: int, tag: str) -> float:
    """Have `rollbook users import` create `count` users from a file; return its seconds.

    Its clock starts when it is connected. Raises `CheckFailed` unless all are created.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "users.ndjson")
        file.write_bytes(b"".join(_lines(count, tag)))
        command = [ROLLBOOK, "users", "import", str(file), "--json"]
        done = subprocess.run(
            command, env=environment_of(settings), capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        raise CheckFailed(f"`rollbook users import` failed: {done.stderr.strip()[-500:]}")
    totals: dict[str, Any] = json.loads(done.stdout)
    if totals["created"] != count:
        raise CheckFailed(f"{totals['created']:,} of {count:,} users were imported")
    return float(totals["seconds"])


def _lines(count: int, tag: str, **further: str) -> Iterator[bytes]:
    for one in people(count, tag):
        yield orjson.dumps(further | one._asdict(), option=orjson.OPT_APPEND_NEWLINE)
