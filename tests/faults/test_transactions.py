"""A handler that cannot know whether its transaction has ended still decides each command once."""

from runtime.settings import Settings
from tests.depth import depth
from tests.faults.broker_proxy import BrokerProxy
from tests.faults.outage import MODELS, Progress, RunningImport, assert_everything_is_valid
from tests.started.processes import Rollbook, eventually

# INVALID_PRODUCER_EPOCH, PRODUCER_FENCED: this producer may no longer end the transaction.
REFUSED = {47, 90}
# tests/unit/producers/handler covers every step; this test shows that a real broker refuses.
ROUNDS = depth(1, 8)
USERS = ROUNDS * 5_000


def test_the_end_of_a_transaction_is_lost_or_comes_late(
    settings: Settings, rollbook: Rollbook
) -> None:
    """The answer to `EndTxn` is lost, or the request arrives when the next transaction is open."""
    with BrokerProxy(settings.kafka_bootstrap_servers) as proxy:
        rollbook.overrides["ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS"] = proxy.address
        rollbook.start_handler()
        del rollbook.overrides["ROLLBOOK_KAFKA_BOOTSTRAP_SERVERS"]
        for model in MODELS:
            rollbook.start_projector(model)
        progress = Progress(settings)
        running = RunningImport(rollbook, USERS, pace=500)
        for _ in range(ROUNDS):
            progress.wait_for(500)
            proxy.lose_answer()
            eventually(proxy.done.is_set, what="the end of a transaction")
            progress.wait_for(500)
            proxy.hold_back()
            eventually(proxy.done.is_set, what="the end of a transaction")
            progress.wait_for(200)
            assert proxy.let_go() in REFUSED
        running.wait()
        assert_everything_is_valid(rollbook, USERS)
