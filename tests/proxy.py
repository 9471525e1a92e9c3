"""Stands between clients and a server, so that a test can cut their connections."""

import socket
import threading
from contextlib import suppress
from typing import Self


class Proxy:
    """Passes bytes between clients and a server, while it is open; `host` and `port` are its own.

    A subclass may look at what passes: `_to_server` and `_to_client` each run in a thread for every
    connection until it is cut.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        self._is_open = True
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        cut(self._listener)
        self._listener.close()
        self.shut()
        for one in self._sockets:
            one.close()

    def open(self) -> None:
        """Let clients through again."""
        self._is_open = True

    def shut(self) -> None:
        """Cut all connections and refuse new ones."""
        self._is_open = False
        for one in self._sockets:
            cut(one)

    def _accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                if not self._is_open:
                    client.close()
                    continue
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                for pump in (self._to_server, self._to_client):
                    threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        _pump(client, server)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        _pump(server, client)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    cut(target)


def cut(one: socket.socket) -> None:
    """End a connection in both directions."""
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
