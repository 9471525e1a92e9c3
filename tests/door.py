"""A door in front of a server, so that a test can take the server away and bring it back."""

import socket
import threading
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from runtime.settings import Settings


class Door:
    """Stands between a client and PostgreSQL, and can be shut."""

    def __init__(self, settings: Settings) -> None:
        parts = conninfo_to_dict(settings.postgres_url)
        self._server = (str(parts["host"]), int(str(parts["port"])))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._is_open = True
        self._sockets: list[socket.socket] = []
        port = self._listener.getsockname()[1]
        self.url = make_conninfo(settings.postgres_url, host="127.0.0.1", port=port)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.shut()

    def open(self) -> None:
        """Let clients through."""
        self._is_open = True

    def shut(self) -> None:
        """Cut those who are through, and let nobody in."""
        self._is_open = False
        for one in self._sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._is_open:
                client.close()
                continue
            server = socket.create_connection(self._server)
            self._sockets += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        for one in (source, target):
            one.close()
