"""The handlers' consumer group, and what keeps two machines from one identity in it.

On one machine a lock file does it. Across machines each would fence the other and, restarted by its
supervisor, be fenced in turn: correct, and useless. So a handler that starts asks the group first
whether a live member of another host has its identity.
"""

import logging
import socket
import time

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from runtime.kafka import REQUEST_TIMEOUT_SECONDS, admin, kafka_available
from runtime.process import StopSignal
from runtime.settings import Settings
from schemas.errors import Misconfigured

log = logging.getLogger(__name__)

GROUP = "rollbook-handler"
_LOOK_SECONDS = 0.5
_SPARE_SECONDS = 3.0


def client_id() -> str:
    """Return what a handler calls itself to the brokers: the host tells it from a twin."""
    return f"rollbook@{socket.gethostname()}"


def refuse_twin(settings: Settings, identity: str, stop: StopSignal) -> None:
    """Return once no other host's member has `identity`.

    A member that died stays in the group until its session ends: that long is waited. Raises
    `Misconfigured` (`instance_taken`) if it is still there then, `Unavailable` without brokers.
    """
    deadline = time.monotonic() + settings.session_timeout_seconds + _SPARE_SECONDS
    with kafka_available(settings):
        client = admin(settings)
        while not stop:
            host = _other_host(client, settings.named(GROUP), identity)
            if host is None:
                return
            if time.monotonic() > deadline:
                raise Misconfigured(
                    f"a handler on {host} runs as {identity}",
                    code="instance_taken",
                    next_step="give every handler of a registry its own --instance",
                )
            log.warning("a handler on %s has our identity: waiting for its session to end", host)
            stop.wait(_LOOK_SECONDS)


def _other_host(client: AdminClient, group: str, identity: str) -> str | None:
    """Return the client id of a member with our identity and another host, if there is one."""
    [described] = client.describe_consumer_groups(
        [group], request_timeout=REQUEST_TIMEOUT_SECONDS
    ).values()
    try:
        members = described.result().members
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return None
        raise
    for member in members:
        if member.group_instance_id == identity and member.client_id != client_id():
            return str(member.client_id)
    return None
