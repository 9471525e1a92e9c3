"""Transactions whose end nobody can be sure of: decided once all the same."""

import pytest

from runtime.settings import Settings
from tests.faults.outage import (
    MODELS,
    Progress,
    RunningImport,
    Servers,
    assert_all_is_right,
    start_all,
)
from tests.faults.proxy import BrokerProxy
from tests.processes import Rollbook, eventually

# INVALID_PRODUCER_EPOCH, PRODUCER_FENCED: the end of a transaction is no longer ours to say.
REFUSED = {47, 90}


def test_the_broker_is_frozen_under_load(
    settings: Settings, rollbook: Rollbook, servers: Servers
) -> None:
    """For less than a session; then until sessions and transactions have long timed out."""
    rollbook.overrides["ROLLBOOK_TRANSACTION_TIMEOUT_SECONDS"] = "3"
    processes = start_all(rollbook)
    progress = Progress(settings)
    running = RunningImport(rollbook, 8_000)
    for seconds in (3, 9):
        progress.wait_for(1_000)
        servers.freeze("kafka", seconds)
    running.wait()
    assert_all_is_right(rollbook, 8_000)
    assert all(process.stop() == 0 for process in processes.values())


@pytest.mark.parametrize("late", [False, True])
def test_the_end_of_a_transaction_is_lost_or_comes_late(
    late: bool,  # noqa: FBT001 - a parameter of the test
    settings: Settings,
    rollbook: Rollbook,
) -> None:
    """An answer that never comes; a request that arrives when the next transaction is open."""
    with BrokerProxy(settings.kafka_bootstrap_servers) as proxy:
        rollbook.overrides["ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS"] = proxy.address
        rollbook.start_handler()
        del rollbook.overrides["ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS"]
        for model in MODELS:
            rollbook.start_projector(model)
        progress = Progress(settings)
        running = RunningImport(rollbook, 12_000, pace=500)
        for _ in range(4):
            progress.wait_for(500)
            (proxy.hold_back if late else proxy.lose_answer)()
            eventually(proxy.done.is_set, what="the end of a transaction")
            if late:
                progress.wait_for(200)
                assert proxy.let_go() in REFUSED
        running.wait()
        assert_all_is_right(rollbook, 12_000)
