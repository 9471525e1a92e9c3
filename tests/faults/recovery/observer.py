"""What a client of the registry sees: partitions that answer, read models that show the answers."""

import asyncio
import time
from collections.abc import Collection
from contextlib import ExitStack
from itertools import count
from typing import Final, Self

from producers.client import AsyncCommandClient
from producers.client.build import create_command
from projectors.versions.visibility import Visibility
from runtime.settings import Settings
from schemas.errors import NotInTime, Unavailable
from schemas.tokens import Token, parse_token
from tests.faults.outage import MODELS
from tests.histories.history import History

PATIENCE_SECONDS: Final = 600.0
_PAUSE_SECONDS: Final = 0.02


class Observer:
    """A client that was connected before anything died, and stays connected."""

    def __init__(self, settings: Settings) -> None:
        self._partitions = settings.partitions
        self._homes = History(settings.partitions)
        self._numbers = count()
        self._settings = settings
        self._runner = asyncio.Runner()
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        self._opened.enter_context(self._runner)
        self._client = AsyncCommandClient(self._settings, timeout_seconds=PATIENCE_SECONDS)
        self._runner.run(self._client.__aenter__())
        self._opened.callback(lambda: self._runner.run(self._client.__aexit__(None, None, None)))
        self._shown = {
            model: self._opened.enter_context(Visibility(self._settings, [model]))
            for model in MODELS
        }
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def wait_for_answers(self) -> Token:
        """Create a user in every partition at once; return, once all are answered, their token.

        A command that Kafka does not take is sent again.
        """
        emails: dict[int, str] = {}
        while len(emails) < self._partitions:
            email = f"r{next(self._numbers)}@example.com"
            emails.setdefault(self._homes.home_of_address(email), email)

        async def create_all() -> list[str]:
            return await asyncio.gather(*map(self._create, emails.values()))

        return parse_token(",".join(self._runner.run(create_all())))

    async def _create(self, email: str) -> str:
        command = create_command(email=email, name="Recovery", age=40)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                outcome = await self._client.send(command)
            except (Unavailable, NotInTime):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                assert outcome.token, outcome
                return str(outcome.token)

    def wait_until_shown(self, token: Token, models: Collection[str] = MODELS) -> None:
        """Return once these read models show all that the token covers."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        for model in models:
            while True:
                try:
                    self._shown[model].wait(str(token), PATIENCE_SECONDS)
                    break
                except Unavailable:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_PAUSE_SECONDS)
