"""A handler and the service of commands killed under load: no caller gets an untrue answer."""

import random

import pytest

from runtime.settings import Settings
from tests.depth import DEEP
from tests.faults.load.commands import ACCEPTED, SILENCE, Commands
from tests.faults.load.ledger import Ledger
from tests.started.processes import Rollbook
from tests.started.services import Service

SEED = 20_261_128
KILLS = 12
# So many commands are accepted between two kills.
ACCEPTED_BETWEEN = 1_000


@pytest.mark.skipif(
    not DEEP, reason="test_nemesis.py kills a service under load, too; in `make test-deep`"
)
def test_every_answer_to_a_caller_agrees_with_the_log(
    settings: Settings, rollbook: Rollbook
) -> None:
    chance = random.Random(SEED)
    handler = rollbook.start_handler()
    services = [Service(rollbook, "commands")]
    commands = Commands(services[0], SEED)
    try:
        for kill in range(KILLS):
            commands.wait_for(chance.randint(ACCEPTED_BETWEEN // 2, ACCEPTED_BETWEEN), ACCEPTED)
            if kill % 2:
                commands.service.process.kill()
                services.append(Service(rollbook, "commands"))
                commands.service = services[-1]
            else:
                handler.kill()
                handler = rollbook.start_handler(wait=False)
        commands.wait_for(ACCEPTED_BETWEEN, ACCEPTED)
    finally:
        commands.stop()
        for service in services:
            service.http.close()
    assert Ledger(settings).flaws(commands.tracked) == []
    assert commands.flaws == []
    assert commands.count(SILENCE) > 0
