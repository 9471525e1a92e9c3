"""Which operations on which topics brokers deny us: their errors do not say that.

Brokers without an authorizer grant everything.
"""

from collections.abc import Collection, Mapping

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation

from runtime.kafka.clients import REQUEST_TIMEOUT_SECONDS


def denied_operations(
    client: AdminClient,
    needed: Mapping[str, Collection[AclOperation]],
    *,
    timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
) -> str:
    """Return what is missing of the operations `needed` on topics; an empty text if nothing is.

    For example `Read, Write on topic user-events`. Topics that do not exist are left out. Raises
    KafkaException if no broker answers.
    """
    futures = client.describe_topics(
        TopicCollection(list(needed)),
        include_authorized_operations=True,
        request_timeout=timeout_seconds,
    )
    missing: dict[str, list[str]] = {}
    for name, future in futures.items():
        try:
            granted = future.result().authorized_operations
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue
            if code != KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise
            missing.setdefault("Describe", []).append(name)
            continue
        if granted is not None:
            lacks = [one.name.title() for one in needed[name] if one not in granted]
            if lacks:
                missing.setdefault(", ".join(lacks), []).append(name)
    return "; ".join(f"{what} on topic {', '.join(names)}" for what, names in missing.items())
