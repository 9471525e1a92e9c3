"""The three brokers of a stack, and what can happen to them."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from confluent_kafka import ElectionType, KafkaException

from runtime.kafka.clients import admin
from runtime.settings import Settings
from scripts.stack.brokers import BROKERS
from scripts.stack.native.local import LocalStack
from tests.faults.brokers.relays import Relays
from tests.faults.outage import Servers
from tests.started.processes import eventually

# The controller takes the partitions of a broker away after 9 s without a sign of life.
SILENT_SECONDS = 15


@contextmanager
def _until_others_lead() -> Iterator[None]:
    """Leave the `with` block, unless by an error, once others lead what a silent broker led."""
    began = time.monotonic()
    yield
    time.sleep(max(0.0, began + SILENT_SECONDS - time.monotonic()))


class Cluster:
    """The brokers of a stack; `relays` carry what they send each other, if there are any.

    `start_handler` replaces the handler by one that asks this broker first.
    """

    def __init__(self, stack: LocalStack, settings: Settings) -> None:
        self.relays: Relays | None = None
        self.start_handler: Callable[[str], None] = lambda _broker: None
        self._stack = stack
        self._servers = Servers(stack)
        self._client = admin(settings)

    def recover(self) -> None:
        """Wait until each partition has three copies in sync, and its first broker leads it."""
        eventually(self._is_in_sync, 120, "every copy is in sync")
        with suppress(KafkaException):  # those that their first broker leads already
            self._client.elect_leaders(ElectionType.PREFERRED, None).result()
        eventually(self._is_in_sync, 120, "every copy is in sync")

    def _is_in_sync(self) -> bool:
        try:
            found: Any = self._client.list_topics(timeout=10)
        except KafkaException:
            return False
        return len(found.brokers) == len(BROKERS) and all(
            part.leader >= 0 and len(part.isrs) == len(part.replicas)
            for topic in found.topics.values()
            for part in topic.partitions.values()
        )

    @contextmanager
    def killed(self, broker: str) -> Iterator[None]:
        """Kill a broker with SIGKILL, and start it again afterwards."""
        self._servers.crash(broker)
        try:
            yield
        finally:
            self._servers.bring_back(broker)

    @contextmanager
    def frozen(self, broker: str) -> Iterator[None]:
        """Freeze a broker until others lead its partitions, then let it go on."""
        with self._servers.frozen(broker), _until_others_lead():
            yield

    @contextmanager
    def cut_off(self, broker: str) -> Iterator[None]:
        """Let a broker and the others not reach each other; clients reach all of them."""
        assert self.relays is not None
        with self.relays.cut_off(broker), _until_others_lead():
            yield

    @contextmanager
    def joined_when_cut_off(self, broker: str) -> Iterator[None]:
        """Start a handler that asks a broker first which others no longer follow."""
        assert self.relays is not None
        with self.relays.cut_off(broker):
            with _until_others_lead():
                pass
            self.start_handler(broker)
            time.sleep(SILENT_SECONDS)
        yield

    @contextmanager
    def all_killed(self, _broker: str) -> Iterator[None]:
        """Kill all brokers at once with SIGKILL, and start them again."""
        for name in BROKERS:
            self._servers.send(name, signal.SIGKILL)
        for name in BROKERS:
            self._stack.supervisor.stop(name)
        self._servers.bring_back(*BROKERS)
        yield

    @contextmanager
    def restarted(self, _broker: str) -> Iterator[None]:
        """Restart one broker after the other, as for an upgrade."""
        for name in BROKERS:
            self._stack.supervisor.stop(name)
            self._servers.bring_back(name)
            eventually(self._is_in_sync, 120, "every copy is in sync")
        yield

    def heal(self) -> None:
        """Have all brokers run, whatever was done to them."""
        for name in BROKERS:
            self._servers.send(name, signal.SIGCONT)
        self._servers.bring_back(*BROKERS)
