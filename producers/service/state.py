"""What the requests of one process share: the client, once the brokers have answered."""

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from starlette.requests import Request

from producers.client import AsyncCommandClient
from runtime.kafka.registry import Registry
from runtime.metrics.failures import count_failure
from runtime.process import Backoff, Reminder
from runtime.settings import Settings
from schemas.errors import Forbidden, Misconfigured, RollbookError, Unavailable

log = logging.getLogger(__name__)

LOOKUPS_AT_ONCE: Final = 4


class CommandService:
    """The client of a service, which may start before the brokers do.

    `lookups` are the threads that search the log for answers, with the schemas of `registry`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.registry = Registry(settings)
        self.lookups = ThreadPoolExecutor(LOOKUPS_AT_ONCE, "lookup")
        self._client: AsyncCommandClient | None = None
        self._reminder = Reminder()
        self._missing: RollbookError = Unavailable(
            "the service is connecting to Kafka; nothing was sent", code="kafka_unavailable"
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect in the background, and close the connections at the end."""
        async with AsyncExitStack() as stack:
            connecting = asyncio.create_task(self._connect(stack))
            try:
                yield
            finally:
                connecting.cancel()
                self.lookups.shutdown(wait=False, cancel_futures=True)

    @property
    def client(self) -> AsyncCommandClient:
        """The client. Raises `Unavailable` or `Misconfigured`: why there is none yet."""
        if self._client is None:
            raise self._missing
        return self._client

    async def check(self) -> None:
        """Raise `RollbookError` if commands cannot be sent now; log a denied access."""
        try:
            await self.client.check()
        except Forbidden as error:
            if self._reminder.is_due():
                log.warning("not ready: %s", error)
            raise

    async def _connect(self, stack: AsyncExitStack) -> None:
        """Connect, trying again after any failure: the service would stay unready for ever."""
        backoff = Backoff()
        while True:
            try:
                self._client = await stack.enter_async_context(AsyncCommandClient(self.settings))
            except Exception as raised:  # noqa: BLE001 - see above
                error = _explained(raised)
                self._missing = type(error)(
                    f"{error}; nothing was sent", code=error.code, next_step=error.next_step
                )
                count_failure(error, is_retried=True)
                seconds = backoff.after(error) if isinstance(error, Unavailable | Forbidden) else 5
                log.warning("%s; trying again in %.1f s", error, seconds)
                await asyncio.sleep(seconds)
            else:
                log.info("connected")
                return


def _explained(error: Exception) -> Unavailable | Misconfigured:
    """Return why the service cannot connect; the traceback of an unexpected error is logged."""
    if isinstance(error, Unavailable | Misconfigured):
        return error
    log.error("connecting to Kafka failed unexpectedly", exc_info=error)
    return Unavailable(
        f"connecting to Kafka failed unexpectedly ({type(error).__name__})",
        code="kafka_unavailable",
    )


def service_of(request: Request) -> CommandService:
    """Return what the requests of this process share."""
    service: CommandService = request.app.state.commands
    return service
