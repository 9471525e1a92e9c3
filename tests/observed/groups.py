"""Deletes consumer groups: brokers forget the offsets of a group that is idle for a week."""

from confluent_kafka import KafkaException

from runtime.kafka.clients import admin
from runtime.settings import Settings
from tests.started.processes import eventually


def is_deleted(settings: Settings, name: str) -> bool:
    """Delete a group; return whether it is gone. It stays as long as it has a member."""
    group = settings.named(name)
    client = admin(settings)  # kept in a variable: its futures never resolve once it is gone
    try:
        client.delete_consumer_groups([group])[group].result()
    except KafkaException:
        return False
    return True


def delete_group(settings: Settings, name: str) -> None:
    """Delete a group once the session of its last member has ended."""
    eventually(lambda: is_deleted(settings, name), what=f"group {name} is deleted")
