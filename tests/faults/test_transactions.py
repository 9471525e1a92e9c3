"""A transaction whose end its handler cannot be sure of: decided once all the same."""

from runtime.settings import Settings
from tests.faults.outage import (
    MODELS,
    Progress,
    RunningImport,
    assert_all_is_right,
)
from tests.faults.proxy import BrokerProxy
from tests.processes import Rollbook, eventually

# INVALID_PRODUCER_EPOCH, PRODUCER_FENCED: the end of a transaction is no longer ours to say.
REFUSED = {47, 90}


def test_the_end_of_a_transaction_is_lost_or_comes_late(
    settings: Settings, rollbook: Rollbook
) -> None:
    """An answer that never comes; a request that arrives when the next transaction is open."""
    with BrokerProxy(settings.kafka_bootstrap_servers) as proxy:
        rollbook.overrides["ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS"] = proxy.address
        rollbook.start_handler()
        del rollbook.overrides["ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS"]
        for model in MODELS:
            rollbook.start_projector(model)
        progress = Progress(settings)
        running = RunningImport(rollbook, 15_000, pace=500)
        for _ in range(3):
            progress.wait_for(500)
            proxy.lose_answer()
            eventually(proxy.done.is_set, what="the end of a transaction")
            progress.wait_for(500)
            proxy.hold_back()
            eventually(proxy.done.is_set, what="the end of a transaction")
            progress.wait_for(200)
            assert proxy.let_go() in REFUSED
        running.wait()
        assert_all_is_right(rollbook, 15_000)
