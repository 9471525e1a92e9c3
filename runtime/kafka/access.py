"""Which errors of Kafka are a denied access, and how a client learns that its login is refused.

librdkafka reports a refused login or certificate only to a callback and connects again and again,
while the calls of the client time out.
"""

import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from runtime.network.tls import TlsServer, tls_missing, tls_refused, why_tls_fails
from runtime.settings import Settings
from schemas.errors import TlsFailed

LOGIN: Final = "a login that the brokers accept"
_NOT_ACQUIRED: Final = "Failed to acquire SASL OAUTHBEARER token"
# RFC 6749, 5.2.
_TOKEN_ERROR: Final = re.compile(
    r"\b(invalid_(request|client|grant|scope)|unauthorized_client|unsupported_grant_type)\b"
)
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
_SSL: Final = KafkaError._SSL  # noqa: SLF001
_ALERT: Final = re.compile(r"SSL routines::([\w /]*alert[\w ]*)")
_BROKER: Final = re.compile(r"\[?([^\s/\[\]]+?)\]?:(\d+)(?:/\w+)?: ")
_API_VERSIONS: Final = struct.pack(">ihhih", 10, 18, 0, 1, -1)
_LOGIN_SECONDS: Final = 2.0
_FIRST_STEP_SECONDS: Final = 0.1


def is_denied(error: KafkaError) -> bool:
    """Return whether brokers refuse a login or a permission."""
    return error.code() in PERMISSIONS


def is_refused_login(error: KafkaError) -> bool:
    """Return whether brokers refuse a login."""
    return PERMISSIONS.get(error.code()) == LOGIN


def login_of(settings: Settings) -> str:
    """Return what is missing if brokers refuse a login, with the settings that it comes from."""
    names = ("kafka_oauth_client_id", "kafka_oauth_client_secret")
    if not settings.kafka_oauth_token_url:
        names = ("kafka_sasl_username", "kafka_sasl_password")
    return f"{LOGIN} ({', '.join(names)})"


def text_of(error: KafkaError) -> str:
    """Return librdkafka's text of an error.

    It quotes the answer of a token endpoint, which may quote the request with the client's secret:
    of that, only the code of OAuth is kept.
    """
    before, no_token, answer = error.str().partition(_NOT_ACQUIRED)
    code = _TOKEN_ERROR.search(answer)
    return before + no_token + (f": {code[0]}" if code else "")


def tls_trouble(settings: Settings, message: str = "") -> TlsFailed | None:
    """Return what is wrong with TLS to the broker that librdkafka's message names.

    Without one, to the first broker of the settings with which something is wrong. None if nothing
    is, or if they do not answer. Blocks for at most 7 s.
    """
    deadline = time.monotonic() + _LOGIN_SECONDS
    found = _BROKER.search(message)
    for host, port in [(found[1], int(found[2]))] if found else _bootstrap_servers(settings):
        broker = TlsServer(
            server="kafka",
            host=host,
            port=port,
            uses_tls=settings.kafka_security_protocol.lower().endswith("ssl"),
            tls_setting="kafka_security_protocol",
            address_setting="kafka_bootstrap_servers",
            ca_location=settings.kafka_ssl_ca_location,
            ca_setting="kafka_ssl_ca_location",
            own=_own_certificate(settings),
        )
        if alert := _ALERT.search(message):
            return tls_refused(broker, alert[1])
        if trouble := why_tls_fails(broker):
            return trouble
        if broker.uses_tls and _answers_in_plain_text(host, port):
            return tls_missing(broker)
        if time.monotonic() > deadline:
            break
    return None


def _own_certificate(settings: Settings) -> tuple[str, str, str] | None:
    if not settings.kafka_ssl_certificate_location:
        return None
    key = settings.kafka_ssl_key_location, settings.kafka_ssl_key_password
    return settings.kafka_ssl_certificate_location, *key


def _bootstrap_servers(settings: Settings) -> Iterator[tuple[str, int]]:
    for address in settings.kafka_bootstrap_servers.split(","):
        host, _, port = address.rpartition("://")[2].strip().rpartition(":")
        if port.isdecimal():
            yield host.strip("[]"), int(port)


def _answers_in_plain_text(host: str, port: int) -> bool:
    """Return whether a broker answers a request without TLS: to a handshake it just hangs up."""
    with suppress(OSError), socket.create_connection((host, port), 1) as connection:
        connection.sendall(_API_VERSIONS)
        # The length of the answer, and the id of the request.
        return connection.recv(8, socket.MSG_WAITALL)[4:] == struct.pack(">i", 1)
    return False


class LoginWatch:
    """Notices that brokers refuse the login of a new client, or that it refuses their certificate.

    Give `on_error` to the client as `error_cb`; it passes every error on. `are_down` says whether
    at some time no broker could be reached.
    """

    def __init__(self, pass_on: Callable[[KafkaError], None] = lambda _error: None) -> None:
        self._pass_on = pass_on
        self._refusal: KafkaError | None = None
        self.are_down = False

    def on_error(self, error: KafkaError) -> None:
        """Note a refused login or certificate, or that no broker can be reached."""
        if is_refused_login(error) or error.code() == _SSL:
            self._refusal = error
        elif error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self.are_down = True
        self._pass_on(error)

    def refusal(
        self, client: AdminClient | Consumer, ask: Callable[[float], Any]
    ) -> KafkaError | None:
        """Return why one of them refuses; None once `ask` succeeds, and for other failures.

        `ask` requests something of the brokers, and raises if there is no answer within the seconds
        that it gets: each time twice as many, as brokers may be far away. Blocks for at most 4 s.
        """
        deadline = time.monotonic() + _LOGIN_SECONDS
        step_seconds = _FIRST_STEP_SECONDS
        while self._refusal is None and not self.are_down and time.monotonic() < deadline:
            try:
                ask(step_seconds)
            except (KafkaException, TimeoutError):
                client.poll(0)  # calls the callback
                step_seconds *= 2
            else:
                return None
        return self._refusal
