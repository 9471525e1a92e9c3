"""Measures how long it takes from sending a command until its effect is seen in each store."""

import time
from contextlib import ExitStack, closing
from typing import Final

from producers.client.command_client import CommandClient
from projectors.catalog import open_versions
from projectors.versions.visibility import LiveVersion
from runtime.settings import Settings
from schemas.errors import CheckFailed, NotInTime
from schemas.tokens import parse_token
from scripts.bench.handlers import running_handlers
from scripts.bench.our_projectors import running_projector
from scripts.bench.people import people

STORES: Final = ("postgres", "elasticsearch")
_WARM_COMMANDS: Final = 40
_COMMANDS: Final = 240
_MOST_SECONDS: Final = 60.0


def visible_ms(settings: Settings) -> dict[str, list[float]]:
    """Return store → milliseconds from sending to seen, of lone commands from a warm client.

    One after the other and to one store at a time: who waits for both waits for the slower. Raises
    `CheckFailed` with what a process last said if one does not do its part.
    """
    with ExitStack() as stack:
        stack.enter_context(running_handlers(settings))
        live = {}
        for store in STORES:
            stack.enter_context(running_projector(settings, store))
            live[store] = stack.enter_context(closing(LiveVersion(open_versions(settings, store))))
        client = stack.enter_context(CommandClient(settings))
        taken: dict[str, list[float]] = {store: [] for store in STORES}
        for number, person in enumerate(people(_WARM_COMMANDS + _COMMANDS, "visible")):
            store = STORES[number % len(STORES)]
            started = time.perf_counter()
            outcome = client.create_user(person.email, person.name, person.age)
            if outcome.token is None:
                raise CheckFailed("a creation that was to become visible was refused")
            try:
                live[store].wait(parse_token(outcome.token), _MOST_SECONDS)
            except NotInTime as error:
                raise CheckFailed(str(error)) from error
            if number >= _WARM_COMMANDS:
                taken[store].append((time.perf_counter() - started) * 1000)
    return taken
