"""A proxy between a Kafka client and its broker that disturbs requests as a network can.

The broker's own address in its answers is replaced by the proxy's, which must have the same length,
so that the client never connects to the broker directly.
"""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Self

PRODUCE, FETCH, ADD_PARTITIONS, ADD_OFFSETS, END_TXN, OFFSET_COMMIT = 0, 1, 24, 25, 26, 28
_LENGTH_BYTES = 4
_ERROR_AT = 12


class BrokerProxy:
    """A proxy at `address` for one broker; `done` is set once it has interfered.

    It interferes with requests of the kind `api_key`, until another is given. The next one after
    `lose_answer` is carried out, but its connection is cut before the answer arrives. The next one
    after `hold_back` is kept and its connection cut; it is carried out only on `let_go`, whatever
    was written meanwhile.
    After `stall`, requests of a kind get no answer as long as the proxy runs. After `slow_down`,
    they wait before they are carried out, until `leave_alone`.
    """

    def __init__(self, broker: str, api_key: int = END_TXN) -> None:
        self._api_key = api_key
        host, port = broker.split(":")
        self._broker = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        own_host, own_port = self._listener.getsockname()
        self.address = f"{own_host}:{own_port}"
        self._theirs = _in_answers(broker)
        self._ours = _in_answers(self.address)
        self._stalled: int | None = None
        self._delayed: tuple[int | None, float] | None = None
        self._ended = threading.Event()
        self._next: Callable[[bytes, socket.socket, socket.socket], None] | None = None
        self._kept: list[tuple[socket.socket, bytes]] = []
        self._undelivered: SimpleQueue[tuple[socket.socket, bytes]] = SimpleQueue()
        self._sockets: list[socket.socket] = []
        self.done = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for one in (self._listener, *self._sockets):
            _cut(one)
            one.close()

    def advertise(self, address: str) -> None:
        """Name another address in answers: that of a relay in front of this proxy."""
        self._ours = _in_answers(address)

    def stall(self, api_key: int) -> None:
        """Keep all requests of a kind; those after them on the same connection wait as well."""
        self.done.clear()
        self._stalled = api_key

    def lose_answer(self, api_key: int | None = None) -> None:
        """Carry out the next request, but do not let its answer through."""
        self._api_key = self._api_key if api_key is None else api_key
        self.done.clear()
        self._next = self._lose_answer

    def lose_answer_for_good(self) -> None:
        """Do the same, and accept no connection from then on."""
        self.done.clear()
        self._next = self._lose_for_good

    def hold_back(self, api_key: int | None = None) -> None:
        """Keep the next request until `let_go`."""
        self._api_key = self._api_key if api_key is None else api_key
        self.done.clear()
        self._next = self._hold_back

    def slow_down(self, seconds: float, api_key: int | None = None) -> None:
        """Delay each request of a kind, or each of any kind; those after it wait as well."""
        self.done.clear()
        self._delayed = api_key, seconds

    def leave_alone(self) -> None:
        """Interfere with no request that has not come yet."""
        self._next = self._delayed = None

    def let_go(self) -> int:
        """Carry out the request that was kept; return the broker's error code for it.

        Only `EndTxn` and `AddOffsetsToTxn` have the code where it is looked for.
        """
        broker, request = self._kept.pop()
        broker.sendall(request)
        source, answer = self._undelivered.get(timeout=20)
        while source is not broker:  # an answer that was lost before
            source, answer = self._undelivered.get(timeout=20)
        # After length, correlation id and throttle time, in the versions that librdkafka speaks.
        return int(struct.unpack_from(">h", answer, _ERROR_AT)[0])

    def _lose_answer(self, request: bytes, client: socket.socket, broker: socket.socket) -> None:
        _cut(client)
        broker.sendall(request)

    def _lose_for_good(self, request: bytes, client: socket.socket, broker: socket.socket) -> None:
        _cut(self._listener)
        self._lose_answer(request, client, broker)

    def _hold_back(self, request: bytes, client: socket.socket, broker: socket.socket) -> None:
        _cut(client)
        self._kept.append((broker, request))

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._broker)
                except OSError:  # the broker is down
                    client.close()
                    continue
                self._sockets += [client, server]
                for pump in (self._to_server, self._to_client):
                    threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while request := _frame(client):
                [key] = struct.unpack_from(">h", request, _LENGTH_BYTES)
                if key == self._stalled:
                    self.done.set()
                    self._ended.wait()
                self._wait_before(key)
                is_wanted = key == self._api_key
                act, self._next = (self._next, None) if is_wanted else (None, self._next)
                if act:
                    act(request, client, server)
                    self.done.set()
                    return  # the broker does not notice that the client is gone
                server.sendall(request)
        _cut(server)

    def _wait_before(self, key: int) -> None:
        wanted, seconds = self._delayed or (None, 0.0)
        if seconds and wanted in (None, key):
            self.done.set()
            self._ended.wait(seconds)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while answer := _frame(server):
                try:
                    client.sendall(answer.replace(self._theirs, self._ours))
                except OSError:
                    self._undelivered.put((server, answer))
        _cut(client)


def _in_answers(address: str) -> bytes:
    host, port = address.split(":")
    return host.encode() + struct.pack(">i", int(port))


def _frame(source: socket.socket) -> bytes:
    """Return one request or answer with its length before it; nothing at the end."""
    head = _read(source, _LENGTH_BYTES)
    rest = head and _read(source, struct.unpack(">i", head)[0])
    return rest and head + rest


def _read(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = source.recv(count - len(data))
        if not more:
            return b""
        data += more
    return data


def _cut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
