"""Which errors of Kafka are a denied access, and how a client learns that its login is refused.

librdkafka reports a refused login only to a callback and connects again and again, while the calls
of the client time out.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

LOGIN: Final = "a login that the brokers accept (kafka_sasl_username, kafka_sasl_password)"
# What is missing, unless the caller knows better.
PERMISSIONS: Final = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "Describe, Read or Write on a topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "Read on the consumer group",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "a permission on the cluster",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "Describe and Write on the transactional id",
    KafkaError.SASL_AUTHENTICATION_FAILED: LOGIN,
    KafkaError.UNSUPPORTED_SASL_MECHANISM: LOGIN,
    KafkaError.ILLEGAL_SASL_STATE: LOGIN,
    KafkaError._AUTHENTICATION: LOGIN,  # noqa: SLF001 - librdkafka's own name
}
_LOGIN_SECONDS: Final = 2.0
_FIRST_STEP_SECONDS: Final = 0.1


def is_denied(error: KafkaError) -> bool:
    """Return whether brokers refuse a login or a permission."""
    return error.code() in PERMISSIONS


def is_refused_login(error: KafkaError) -> bool:
    """Return whether brokers refuse a login."""
    return PERMISSIONS.get(error.code()) == LOGIN


class LoginWatch:
    """Notices that brokers refuse the login of a new client.

    Give `on_error` to the client as `error_cb`; it passes every error on.
    """

    def __init__(self, pass_on: Callable[[KafkaError], None] = lambda _error: None) -> None:
        self._pass_on = pass_on
        self._refusal: KafkaError | None = None
        self._are_down = False

    def on_error(self, error: KafkaError) -> None:
        """Note a refused login, or that no broker can be reached."""
        if is_refused_login(error):
            self._refusal = error
        self._are_down = error.code() == KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001
        self._pass_on(error)

    def refusal(
        self, client: AdminClient | Consumer, ask: Callable[[float], Any]
    ) -> KafkaError | None:
        """Return why the login is refused; None once `ask` succeeds, and for other failures.

        `ask` requests something of the brokers, and raises if there is no answer within the seconds
        that it gets: each time twice as many, as brokers may be far away. Blocks for at most 4 s.
        """
        deadline = time.monotonic() + _LOGIN_SECONDS
        step_seconds = _FIRST_STEP_SECONDS
        while self._refusal is None and not self._are_down and time.monotonic() < deadline:
            try:
                ask(step_seconds)
            except (KafkaException, TimeoutError):
                client.poll(0)  # calls the callback
                step_seconds *= 2
            else:
                return None
        return self._refusal
