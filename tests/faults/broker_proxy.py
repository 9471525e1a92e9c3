"""Stands between a Kafka client and its broker and does to `EndTxn` what a network can do.

The broker's own address in its answers is replaced by the proxy's, which must have the same length,
so that the client never connects to the broker directly.
"""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

from tests.proxy import Proxy, cut

END_TXN = 26
_LENGTH_BYTES = 4
_ERROR_AT = 12


class BrokerProxy(Proxy):
    """A proxy at `address` for one broker; `done` is set once it has interfered as it was told.

    The next `EndTxn` after `lose_answer` is carried out and its connection cut before the answer
    comes through; the next one after `hold_back` is kept while its connection is cut, and carried
    out only on `let_go`, however much of the log has been written since.
    """

    def __init__(self, broker: str) -> None:
        host, port = broker.split(":")
        super().__init__(host, int(port))
        self.address = f"{self.host}:{self.port}"
        self._theirs = host.encode() + struct.pack(">i", int(port))
        self._ours = self.host.encode() + struct.pack(">i", self.port)
        self._next: Callable[[bytes, socket.socket, socket.socket], None] | None = None
        self._kept: list[tuple[socket.socket, bytes]] = []
        self._undelivered: SimpleQueue[tuple[socket.socket, bytes]] = SimpleQueue()
        self.done = threading.Event()

    def lose_answer(self) -> None:
        """Carry out the next `EndTxn`, but do not let its answer through."""
        self.done.clear()
        self._next = self._lose_answer

    def hold_back(self) -> None:
        """Keep the next `EndTxn` until `let_go`."""
        self.done.clear()
        self._next = self._hold_back

    def let_go(self) -> int:
        """Carry out the `EndTxn` that was kept; return the broker's error code for it."""
        broker, request = self._kept.pop()
        broker.sendall(request)
        source, answer = self._undelivered.get(timeout=20)
        while source is not broker:  # an answer that was lost before
            source, answer = self._undelivered.get(timeout=20)
        # After length, correlation id and throttle time: librdkafka speaks version 1.
        return int(struct.unpack_from(">h", answer, _ERROR_AT)[0])

    def _lose_answer(self, request: bytes, client: socket.socket, broker: socket.socket) -> None:
        cut(client)
        broker.sendall(request)

    def _hold_back(self, request: bytes, client: socket.socket, broker: socket.socket) -> None:
        cut(client)
        self._kept.append((broker, request))

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while request := _frame(client):
                [key] = struct.unpack_from(">h", request, _LENGTH_BYTES)
                act, self._next = (self._next, None) if key == END_TXN else (None, self._next)
                if act:
                    act(request, client, server)
                    self.done.set()
                    return  # the broker is not told that the client is gone
                server.sendall(request)
        cut(server)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while answer := _frame(server):
                try:
                    client.sendall(answer.replace(self._theirs, self._ours))
                except OSError:
                    self._undelivered.put((server, answer))
        cut(client)


def _frame(source: socket.socket) -> bytes:
    """Return one request or answer with its length before it; nothing at the end."""
    head = _read(source, _LENGTH_BYTES)
    return head and head + _read(source, struct.unpack(">i", head)[0])


def _read(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = source.recv(count - len(data))
        if not more:
            return b""
        data += more
    return data
