"""Measures how long it takes from sending a command until each store shows its effect."""

import time
from contextlib import ExitStack
from typing import Final

from producers.client.command_client import CommandClient
from projectors.versions.visibility import Visibility
from runtime.settings import Settings
from schemas.errors import CheckFailed, NotInTime
from scripts.bench.workload.people import people

STORES: Final = ("postgres", "elasticsearch")
_WARM_UP_COMMANDS: Final = 40
_COMMANDS: Final = 240
_MOST_SECONDS: Final = 60.0


def visible_ms(settings: Settings, tag: str) -> dict[str, list[float]]:
    """Return store → milliseconds from sending a creation until a query shows it.

    A handler and both projectors must run. One warm client creates users one after the other and
    waits for one store each time: waiting for both would measure the slower one only. Another `tag`
    creates other users. Raises `CheckFailed` if a creation is refused or never becomes visible.
    """
    with ExitStack() as stack:
        live = {store: stack.enter_context(Visibility(settings, [store])) for store in STORES}
        client = stack.enter_context(CommandClient(settings))
        taken: dict[str, list[float]] = {store: [] for store in STORES}
        for number, person in enumerate(people(_WARM_UP_COMMANDS + _COMMANDS, tag)):
            store = STORES[number % len(STORES)]
            started = time.perf_counter()
            outcome = client.create_user(person.email, person.name, person.age)
            if outcome.token is None:
                raise CheckFailed("a creation that was to become visible was refused")
            try:
                live[store].wait(outcome.token, _MOST_SECONDS)
            except NotInTime as error:
                raise CheckFailed(str(error)) from error
            if number >= _WARM_UP_COMMANDS:
                taken[store].append((time.perf_counter() - started) * 1000)
    return taken
