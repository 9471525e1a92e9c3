"""Relays between the brokers of a stack, which can cut one broker off from the others.

SIGSTOP is no network partition: a broker that is cut off keeps running and still answers clients as
the leader of its partitions. Brokers advertise a relay to each other, so that everything between
two of them passes through one. What a cut withholds arrives once it has healed, as with TCP; new
connections wait as well. No privileges are needed.
"""

import asyncio
import multiprocessing
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple, TypeAlias

import psutil

from scripts.stack.brokers import BROKERS
from scripts.stack.native.local import LocalStack
from scripts.stack.places import HOST, free_port
from scripts.stack.record import read_record
from tests.faults.outage import Servers

_CHUNK_BYTES = 65_536
_Carry: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class _Route(NamedTuple):
    """A relay: whoever connects to `port` reaches `target` of a broker."""

    broker: str
    port: int
    target: int


class Relays:
    """Two relays for each broker: to its listener for the other brokers and to its controller.

    They run in a process of their own: brokers give up requests to a controller after 2 s.
    """

    def __init__(self, stack: LocalStack, ports: Mapping[str, int]) -> None:
        self._stack = stack
        self._ports = ports
        self._routes = {
            name: (
                _Route(name, free_port(set()), free_port(set())),
                _Route(name, free_port(set()), ports[f"{name}-controller"]),
            )
            for name in BROKERS
        }
        context = multiprocessing.get_context("spawn")
        self._orders, theirs = context.Pipe()
        routes = [one for pair in self._routes.values() for one in pair]
        self._process = context.Process(target=_run, args=(routes, theirs), daemon=True)
        self._process.start()
        assert self._orders.recv() == "listening"

    def options(self, name: str) -> str:
        """Return what a broker's configuration must have at its end."""
        internal, controller = self._routes[name]
        voters = ",".join(
            f"{number}@{HOST}:{self._routes[one][1].port}" for number, one in enumerate(BROKERS, 1)
        )
        client = f"CLIENT://{HOST}:{self._ports[name]}"
        return f"""
listeners={client},INTERNAL://{HOST}:{internal.target},CONTROLLER://{HOST}:{controller.target}
advertised.listeners={client},INTERNAL://{HOST}:{internal.port},CONTROLLER://{HOST}:{controller.port}
listener.security.protocol.map=CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INTERNAL
controller.quorum.voters={voters}
"""

    @contextmanager
    def cut_off(self, broker: str) -> Iterator[None]:
        """Withhold everything between a broker and the others inside the `with` block."""
        self._orders.send((broker, self._stack.servers()[broker].pid))
        try:
            yield
        finally:
            self._orders.send(None)

    def close(self) -> None:
        """End the relays and all connections through them."""
        self._process.kill()
        self._process.join()


class _Cut:
    """Which broker is cut off, if any is."""

    def __init__(self) -> None:
        self._broker = ""
        self._pid = 0
        self._callers: set[int] = set()
        self._healed = asyncio.Event()
        self._healed.set()

    def obey(self, orders: Connection) -> None:
        """Begin or end a cut, as the process of the tests says; end with it."""
        try:
            order = orders.recv()
        except EOFError:
            sys.exit()
        self._broker, self._pid = order or ("", 0)
        if order:
            self._healed.clear()
            self.refresh()
        else:
            self._healed.set()

    def refresh(self) -> None:
        """Look which connections the broker has opened; only the system knows whose they are."""
        if self._broker:
            with suppress(psutil.NoSuchProcess):
                ends = psutil.Process(self._pid).net_connections("tcp")
                self._callers = {one.laddr.port for one in ends}

    async def passes(self, broker: str, caller: int) -> None:
        """Wait while the caller from this port and the broker that it calls are separated."""
        while not self._healed.is_set() and (caller in self._callers) != (broker == self._broker):
            await self._healed.wait()


def _run(routes: list[_Route], orders: Connection) -> None:
    asyncio.run(_serve(routes, orders))


async def _serve(routes: list[_Route], orders: Connection) -> None:
    cut = _Cut()
    asyncio.get_running_loop().add_reader(orders.fileno(), cut.obey, orders)
    for route in routes:
        carry = _carrier(route, cut)
        await asyncio.start_server(carry, HOST, route.port)
    orders.send("listening")
    await asyncio.Event().wait()


def _carrier(route: _Route, cut: _Cut) -> _Carry:
    """Return what becomes of each connection to a relay."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect to the broker once its caller may reach it, and pass bytes both ways."""
        caller = writer.get_extra_info("peername")[1]
        cut.refresh()

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while chunk := await source.read(_CHUNK_BYTES):
                    await cut.passes(route.broker, caller)
                    target.write(chunk)
                    await target.drain()
            await cut.passes(route.broker, caller)  # the end is withheld as well
            target.close()

        await cut.passes(route.broker, caller)
        try:
            answers, requests = await asyncio.open_connection(HOST, route.target)
        except OSError:  # it is down
            writer.close()
            return
        await asyncio.gather(pump(reader, requests), pump(answers, writer))

    return carry


@contextmanager
def relayed(stack: LocalStack) -> Iterator[Relays]:
    """Have the brokers of a stack, which are down meanwhile, reach each other through relays.

    They are stopped before and after the `with` block.
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
            file.write_text(plain[name] + relays.options(name), encoding="utf-8")
        yield relays
    finally:
        _stop(stack)
        relays.close()
        for name, file in files.items():
            file.write_text(plain[name], encoding="utf-8")


def _stop(stack: LocalStack) -> None:
    for name in BROKERS:
        Servers(stack).crash(name)  # the last one would not stop by itself
