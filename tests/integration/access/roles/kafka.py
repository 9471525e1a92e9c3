"""Everything that a login can try at Kafka, each really requested.

An attempt is an operation and what it is tried on. Where a permission exists, what it allows
must do no harm: records are deleted up to offset 0, changes are only validated.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import closing
from typing import Any, Final

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
)
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.cimpl import NewPartitions, NewTopic

from runtime.kafka.clients import client_config
from runtime.settings import Settings
from tests.integration.access.roles.web import Attempts
from tests.started.processes import eventually

SECONDS: Final = 20.0
_DENIED: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError._AUTHENTICATION,
}
# Errors that only a login with the permission gets.
_PERMITTED: Final = {
    KafkaError.TOPIC_ALREADY_EXISTS,
    KafkaError.GROUP_ID_NOT_FOUND,
    KafkaError.INVALID_PARTITIONS,
    KafkaError.POLICY_VIOLATION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._NO_OFFSET,
}


def is_permitted(error: KafkaError | None) -> bool:
    """Return whether a request was permitted; fail for an error that does not tell."""
    if error is None or error.code() in _PERMITTED:
        return True
    assert error.code() in _DENIED, error
    return False


class KafkaLogin:
    """A login at Kafka that tries everything."""

    def __init__(self, settings: Settings) -> None:
        self._config = client_config(settings)
        # librdkafka asks for its coordinator, and reads nothing if it may not.
        self._readers = settings.named("rollbook-reader")
        self._admin = AdminClient(self._config)

    def topics(self, names: Iterable[str]) -> Attempts:
        """Return attempt → whether it was permitted, for every operation on topics."""
        names = list(names)
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        return {
            **_named("Describe", names, self._described(names)),
            **_named("DescribeConfigs", names, self._all(self._admin.describe_configs(resources))),
            **_named("Read", names, self._read(names)),
            **_named("Write", names, self._write(names)),
            **_named("Create", names, self._created(names)),
            **_named("Delete", names, self._deleted(names)),
            **_named("Alter", names, self._altered(names)),
            **_named("AlterConfigs", names, self._reconfigured(names)),
        }

    def groups(self, names: Iterable[str], topic: str) -> Attempts:
        """Return the same for groups; `topic` is one that the login may read."""
        names = list(names)
        found: Attempts = {}
        for name in names:
            place = [ConsumerGroupTopicPartitions(name, [TopicPartition(topic, 0, 0)])]
            described = self._admin.describe_consumer_groups([name], request_timeout=SECONDS)
            committed = self._admin.alter_consumer_group_offsets(place, request_timeout=SECONDS)
            found |= _named("Describe", [name], self._all(described))
            found |= _named("Read", [name], self._all(committed, _error_of_commit))
            deleted = self._admin.delete_consumer_groups([name], request_timeout=SECONDS)
            found |= _named("Delete", [name], self._all(deleted))
        return found

    def transactional_ids(self, names: Iterable[str]) -> Attempts:
        """Return the same for transactional ids: whether a producer may have them."""
        return {("Write", name): self._begins(name) for name in names}

    def cluster(self) -> Attempts:
        """Return the same for the cluster."""
        broker = ConfigResource(
            ResourceType.BROKER,
            "1",
            incremental_configs=[_option("log.cleaner.threads", "1")],
        )
        anything: Any = None
        some = (ResourceType.TOPIC, f"x{uuid.uuid4().hex}", ResourcePatternType.LITERAL)
        acl = AclBinding(*some, "User:nobody", "*", AclOperation.READ, AclPermissionType.ALLOW)
        every = AclBindingFilter(
            *(ResourceType.ANY, anything, ResourcePatternType.ANY, anything, anything),
            *(AclOperation.ANY, AclPermissionType.ANY),
        )
        new = NewTopic(f"x{uuid.uuid4().hex}", 1, 1)
        admin = self._admin
        tried: dict[str, Mapping[Any, Future[Any]]] = {
            "Create": admin.create_topics([new], validate_only=True),
            "Alter": admin.create_acls([acl], request_timeout=SECONDS),
            "AlterConfigs": admin.incremental_alter_configs([broker], validate_only=True),
            "DescribeConfigs": admin.describe_configs([broker], request_timeout=SECONDS),
        }
        # The client returns nothing instead of the broker's refusal.
        acls = admin.describe_acls(every, request_timeout=SECONDS).result(SECONDS)
        return {("Describe", "cluster"): bool(acls)} | {
            (operation, "cluster"): all(self._all(futures).values())
            for operation, futures in tried.items()
        }

    def _described(self, names: list[str]) -> dict[str, bool]:
        return self._all(self._admin.describe_topics(TopicCollection(names)))

    def _created(self, names: list[str]) -> dict[str, bool]:
        return self._all(self._admin.create_topics([NewTopic(name, 1, 1) for name in names]))

    def _altered(self, names: list[str]) -> dict[str, bool]:
        more = [NewPartitions(name, 50) for name in names]
        return self._all(self._admin.create_partitions(more, validate_only=True))

    def _reconfigured(self, names: list[str]) -> dict[str, bool]:
        changes = [
            ConfigResource(
                ResourceType.TOPIC, name, incremental_configs=[_option("retention.ms", "1")]
            )
            for name in names
        ]
        return self._all(self._admin.incremental_alter_configs(changes, validate_only=True))

    def _deleted(self, names: list[str]) -> dict[str, bool]:
        places = [TopicPartition(name, 0, 0) for name in names]
        found = self._all(self._admin.delete_records(places))
        return {place.topic: permitted for place, permitted in found.items()}

    def _read(self, names: list[str]) -> dict[str, bool]:
        """Fetch from each topic: a record, the end, or an error.

        A consumer does not even ask for a topic whose partitions it may not see.
        """
        found: dict[str, bool] = {}
        found |= {name: False for name, seen in self._described(names).items() if not seen}
        config = self._config | {"group.id": self._readers, "enable.partition.eof": True}
        with closing(Consumer(config)) as consumer:
            consumer.assign([TopicPartition(name, 0, 0) for name in names if name not in found])

            def is_known() -> bool:
                message = None if len(found) == len(names) else consumer.poll(0.2)
                if message is not None:
                    error = message.error()
                    is_end = error is not None and error.code() == KafkaError._PARTITION_EOF
                    found.setdefault(str(message.topic()), is_end or is_permitted(error))
                return len(found) == len(names)

            eventually(is_known, what="each topic was read")
        return found

    def _write(self, names: list[str]) -> dict[str, bool]:
        """Write a record to each topic as any program can, without idempotence."""
        producer, found = Producer(self._config), {}

        def delivered(error: KafkaError | None, message: Any) -> None:
            found[message.topic()] = is_permitted(error)

        for name in names:
            producer.produce(name, b"x", b"x", 0, on_delivery=delivered)
        assert producer.flush(SECONDS) == 0
        return found

    def _begins(self, transactional_id: str) -> bool:
        producer = Producer(self._config | {"transactional.id": transactional_id})
        try:
            producer.init_transactions(SECONDS)
        except KafkaException as error:
            return is_permitted(error.args[0])
        return True

    @staticmethod
    def _all(
        futures: Mapping[Any, Future[Any]],
        error_in: Callable[[Any], KafkaError | None] = lambda _result: None,
    ) -> dict[Any, bool]:
        found = {}
        for what, future in futures.items():
            error = future.exception(SECONDS)
            assert error is None or isinstance(error, KafkaException), error
            found[what] = is_permitted(error.args[0] if error else error_in(future.result()))
        return found


def _named(operation: str, names: list[str], permitted: Mapping[Any, bool]) -> Attempts:
    by_name = {
        getattr(what, "name", what): is_permitted for what, is_permitted in permitted.items()
    }
    return {(operation, name): by_name[name] for name in names}


def _error_of_commit(result: ConsumerGroupTopicPartitions) -> KafkaError | None:
    [place] = result.topic_partitions or []
    return place.error


def _option(name: str, value: str) -> ConfigEntry:
    return ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
