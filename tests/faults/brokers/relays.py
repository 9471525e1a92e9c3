"""Relays between the brokers of a stack, which can cut one broker off from the others.

SIGSTOP is no network partition: a broker that is cut off goes on, believes itself the leader of its
partitions, and answers clients. Brokers advertise a relay to each other, so that everything between
two of them passes through one. What a cut withholds arrives once it has healed, as with TCP; new
connections wait as well. No privileges are needed.
"""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from scripts.stack.brokers import BROKERS
from scripts.stack.local import LocalStack
from scripts.stack.places import HOST, free_port
from scripts.stack.record import read_record

_CHUNK_BYTES = 65_536


class Relays:
    """Two relays for each broker: to its listener for the other brokers and to its controller."""

    def __init__(self, stack: LocalStack, ports: Mapping[str, int]) -> None:
        self._stack = stack
        self._cut: str | None = None
        self._changed = threading.Condition()
        self._sockets: list[socket.socket] = []
        self._internal = {name: free_port(set()) for name in BROKERS}
        self._relays = {
            name: [self._listen(name, port) for port in (internal, ports[f"{name}-controller"])]
            for name, internal in self._internal.items()
        }

    def options(self, name: str, ports: Mapping[str, int]) -> str:
        """Return what a broker's configuration must have at its end."""
        controller = ports[f"{name}-controller"]
        internal, relayed = self._internal[name], self._relays[name]
        voters = ",".join(
            f"{number}@{HOST}:{self._relays[one][1]}" for number, one in enumerate(BROKERS, 1)
        )
        client = f"CLIENT://{HOST}:{ports[name]}"
        return f"""
listeners={client},INTERNAL://{HOST}:{internal},CONTROLLER://{HOST}:{controller}
advertised.listeners={client},INTERNAL://{HOST}:{relayed[0]},CONTROLLER://{HOST}:{relayed[1]}
listener.security.protocol.map=CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INTERNAL
controller.quorum.voters={voters}
"""

    @contextmanager
    def cut_off(self, broker: str) -> Iterator[None]:
        """Withhold everything between a broker and the others inside the `with` block."""
        self._set_cut(broker)
        try:
            yield
        finally:
            self._set_cut(None)

    def close(self) -> None:
        """Close all connections."""
        self._set_cut(None)
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _set_cut(self, broker: str | None) -> None:
        with self._changed:
            self._cut = broker
            self._changed.notify_all()

    def _listen(self, broker: str, port: int) -> int:
        listener = socket.create_server((HOST, 0), backlog=128)
        self._sockets.append(listener)
        threading.Thread(target=self._accept, args=(listener, broker, port), daemon=True).start()
        return int(listener.getsockname()[1])

    def _accept(self, listener: socket.socket, broker: str, port: int) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                caller, (_, number) = listener.accept()
                arguments = (caller, number, broker, port)
                threading.Thread(target=self._carry, args=arguments, daemon=True).start()

    def _carry(self, caller: socket.socket, number: int, broker: str, port: int) -> None:
        """Connect to a broker once its caller may reach it, and pass bytes both ways."""
        ends = {self._owner(number), broker}
        self._wait_for(ends)
        try:
            called = socket.create_connection((HOST, port))
        except OSError:  # it is down
            caller.close()
            return
        self._sockets += [caller, called]
        for pair in ((caller, called), (called, caller)):
            threading.Thread(target=self._pump, args=(*pair, ends), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, ends: set[str]) -> None:
        with suppress(OSError):
            while chunk := source.recv(_CHUNK_BYTES):
                self._wait_for(ends)
                target.sendall(chunk)
        # The end of a connection is withheld as well.
        self._wait_for(ends)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _wait_for(self, ends: set[str]) -> None:
        """Wait while one end is cut off from the other."""
        with self._changed:
            self._changed.wait_for(lambda: len(ends) == 1 or self._cut not in ends)

    def _owner(self, port: int) -> str:
        """Return the broker whose connection has this port at its end."""
        for name, server in self._stack.servers().items():
            if name in BROKERS and server.pid is not None:
                with suppress(psutil.NoSuchProcess):
                    ends = psutil.Process(server.pid).net_connections("tcp")
                    if any(one.laddr.port == port for one in ends):
                        return name
        return "another program"


@contextmanager
def relayed(stack: LocalStack) -> Iterator[Relays]:
    """Have the brokers of a stack, which are down meanwhile, reach each other through relays.

    They are restarted before and after the `with` block.
    """
    record = read_record(stack.directory)
    assert record is not None
    relays = Relays(stack, record.ports)
    folder = Path(record.data) / "configuration"
    files = {name: folder / f"{name}.properties" for name in BROKERS}
    plain = {name: file.read_text(encoding="utf-8") for name, file in files.items()}
    try:
        _stop(stack)
        for name, file in files.items():
            file.write_text(plain[name] + relays.options(name, record.ports), encoding="utf-8")
        yield relays
    finally:
        _stop(stack)
        relays.close()
        for name, file in files.items():
            file.write_text(plain[name], encoding="utf-8")


def _stop(stack: LocalStack) -> None:
    for name in BROKERS:
        stack.supervisor.stop(name)
