"""Restoring a partition from a real broker's log."""

from confluent_kafka import Producer

from producers.domain.state import PartitionState
from producers.handler.clients import Codecs
from producers.handler.restore import Restore
from producers.handler.start import KafkaClients
from runtime.kafka import transactional_config
from runtime.registry import Registry
from runtime.settings import Settings
from schemas.identity import partition_of, user_shard, uuid_bytes
from schemas.topics import EVENTS
from tests.processes import eventually
from tests.unit.scripts.verify.forged import event


def test_a_restore_waits_for_a_predecessors_open_transaction(settings: Settings) -> None:
    """What may still be committed must be known before the first decision."""
    codecs = Codecs.from_registry(Registry(settings))
    predecessor = Producer(transactional_config(settings, settings.named("predecessor")))
    predecessor.init_transactions(10)
    predecessor.begin_transaction()
    user_id = event(1)["user_id"]
    home = partition_of(user_shard(user_id), settings.partitions)
    predecessor.produce(settings.named(EVENTS.name), codecs.events.encode(event(1)), user_id, home)
    predecessor.flush()
    restore = Restore(settings, home, codecs, KafkaClients(settings, "successor"))
    try:
        assert not any(restore.step() for _ in range(20))
        predecessor.commit_transaction(10)
        state: PartitionState = eventually(restore.step)
    finally:
        restore.close()
    assert list(state.users) == [uuid_bytes(user_id)]
