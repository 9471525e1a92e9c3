"""Connections that send little, on a real socket, with a short time limit."""

import asyncio

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from uvicorn.server import ServerState

from runtime.http import connection
from runtime.http.connection import Connection

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("sent", [b"", b"\r\n", REQUEST[:20]], ids=["nothing", "a line", "a part"])
@pytest.mark.parametrize("before", [b"", REQUEST], ids=["the first request", "a later request"])
def test_a_request_that_has_begun_must_arrive_in_time(
    monkeypatch: pytest.MonkeyPatch, before: bytes, sent: bytes
) -> None:
    """A connection without any may stay open, but only after one that was answered."""
    monkeypatch.setattr(connection, "_HEAD_SECONDS", 0.3)

    async def run() -> bytes:
        config = uvicorn.Config(PlainTextResponse("done"), lifespan="off", log_config=None)
        config.load()
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(config, ServerState(), {}), "127.0.0.1", 0
        )
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            if before:
                writer.write(before)
                await reader.readuntil(b"done")
            writer.write(sent)
            try:
                async with asyncio.timeout(1):
                    return await reader.read()
            except TimeoutError:
                return b"open"
            finally:
                writer.close()
                await writer.wait_closed()

    assert asyncio.run(run()) == (b"open" if before and not sent else b"")
