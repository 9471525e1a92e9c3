"""Measures, in a thread of its own, what only the brokers know: how far the log really goes.

A consumer that is stalled believes that it is at the end of the log. So its own figures are no
measure of its lag (docs/decisions/0029).
"""

import logging
import threading
from collections.abc import Sequence
from typing import Final, Protocol

from confluent_kafka.admin import AdminClient

from runtime.kafka.clients import admin
from runtime.metrics.health import HEALTH
from runtime.process import StopSignal
from runtime.settings import Settings
from schemas.errors import RollbookError

log = logging.getLogger(__name__)

_EVERY_SECONDS: Final = 2.0
# The part of the process that is not ready while brokers do not answer.
BROKERS: Final = "brokers"


class Measurement(Protocol):
    """One thing to measure, by one thread."""

    def measure(self, client: AdminClient) -> None:
        """Record the present value. Raises `RollbookError`."""

    def forget(self) -> None:
        """Record that the value is unknown."""


def follow(settings: Settings, measurements: Sequence[Measurement], stop: StopSignal) -> None:
    """Start to measure every two seconds, until `stop` is set; return at once.

    `measurements` may grow and shrink meanwhile. While brokers do not answer or deny access, the
    process is not ready, and what they would say is unknown.
    """

    def measure(client: AdminClient) -> None:
        for one in list(measurements):
            one.measure(client)

    def run() -> None:
        client: AdminClient | None = None
        while not stop:
            try:
                client = client or admin(settings)
                measure(client)
            except Exception as error:  # noqa: BLE001 - the lag would stay what it was, for ever
                HEALTH.lacks(_explained(error), BROKERS)
                # With TLS, a client that has lost its connection to the coordinator of a group may
                # never ask it again (librdkafka 2.16), so another one does.
                client = None
                for one in list(measurements):
                    one.forget()
            else:
                HEALTH.works(BROKERS)
            stop.wait(_EVERY_SECONDS)

    threading.Thread(target=run, name="follower", daemon=True).start()


def _explained(error: Exception) -> RollbookError:
    if isinstance(error, RollbookError):
        return error
    log.error("measuring failed", exc_info=error)
    return RollbookError("the process cannot measure how far it is behind; its log says why")
