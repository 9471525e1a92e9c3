"""A server that denies access is not unavailable: a command ends, a process waits 30 s."""

from contextlib import closing
from email.message import Message
from io import BytesIO
from urllib.error import HTTPError

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException
from elastic_transport import ApiResponseMeta, HttpHeaders, NodeConfig
from elasticsearch import ApiError
from psycopg import OperationalError, errors

from projectors.elasticsearch.client import explain
from projectors.elasticsearch.index.bulk import failed_lines
from projectors.postgres.store.database import Database
from runtime.command_line.terminal import EXIT_UNAVAILABLE, EXIT_USAGE, exit_code
from runtime.kafka.access import LOGIN, LoginWatch
from runtime.kafka.clients import kafka_failure
from runtime.kafka.registry import Registry
from runtime.process import FORBIDDEN_RETRY_SECONDS, Backoff, StopSignal, until_available
from runtime.settings import Settings
from schemas.errors import Forbidden, Misconfigured, RollbookError, TlsFailed, Unavailable

SETTINGS = Settings(kafka_bootstrap_servers="nowhere")


def of_registry(status: int) -> RollbookError:
    error = HTTPError("http://h", status, "reason", Message(), BytesIO())
    return Registry(SETTINGS)._failure(error, "rollbook.UserEvent")


def of_elasticsearch(status: int, kind: str, reason: str = "") -> RollbookError:
    meta = ApiResponseMeta(status, "1.1", HttpHeaders(), 0.1, NodeConfig("http", "h", 1))
    error = {"type": kind, "reason": reason}
    return explain(SETTINGS, ApiError(kind, meta, {"error": error, "status": status}))


def of_kafka(code: int, message: str = "") -> RollbookError:
    return kafka_failure(SETTINGS, KafkaException(KafkaError(code, message or None)))


def of_postgres(error: Exception) -> RollbookError:
    with pytest.raises(RollbookError) as raised, Database(SETTINGS).session():
        raise error
    return raised.value


@pytest.fixture(autouse=True)
def no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing connects: the errors are made here, as the clients report them."""
    monkeypatch.setattr(Database, "_open", lambda _self: None)


DENIED = [
    (lambda: of_registry(401), "registry_username"),
    (lambda: of_registry(403), "to look up rollbook.UserEvent"),
    (lambda: of_elasticsearch(401, "security_exception"), "elasticsearch_username"),
    (
        lambda: of_elasticsearch(403, "security_exception", "granted by the privileges [read]"),
        "granted by the privileges [read]",
    ),
    (lambda: of_kafka(KafkaError.TOPIC_AUTHORIZATION_FAILED), "Write on a topic"),
    (lambda: of_kafka(KafkaError.GROUP_AUTHORIZATION_FAILED), "Read on the consumer group"),
    (lambda: of_kafka(KafkaError._AUTHENTICATION), "kafka_sasl_username"),
    (
        lambda: of_kafka(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        "Write on the transactional id",
    ),
    (
        lambda: of_postgres(errors.InsufficientPrivilege("permission denied for schema x")),
        "permission denied for schema x",
    ),
    (
        lambda: of_postgres(OperationalError('FATAL:  password authentication failed for "u"')),
        "password authentication failed",
    ),
    (
        lambda: of_postgres(OperationalError("fe_sendauth: no password supplied")),
        "no password supplied",
    ),
]


@pytest.mark.parametrize(("error", "missing"), DENIED)
def test_a_denied_access_names_what_is_missing(error: object, missing: str) -> None:
    """With the exit code of a configuration error, not that of an unavailable server."""
    assert callable(error)
    failure = error()
    assert isinstance(failure, Forbidden)
    assert missing in str(failure)
    assert failure.next_step
    assert exit_code(failure) == EXIT_USAGE


ALERT = "error:0A000412:SSL routines::sslv3 alert bad certificate: SSL alert number 42"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (
            lambda: of_postgres(OperationalError("FATAL:  no pg_hba.conf entry, no encryption")),
            "tls_required",
        ),
        (
            lambda: of_postgres(OperationalError("SSL error: tlsv13 alert certificate required")),
            "tls_refused",
        ),
        (
            lambda: of_kafka(KafkaError._SSL, f"ssl://[::1]:9093/1: {ALERT} (after 2ms)"),
            "tls_refused",
        ),
    ],
)
def test_what_a_server_says_about_tls_is_passed_on(error: object, code: str) -> None:
    """A server that wants TLS, or a certificate of the client."""
    assert callable(error)
    failure = error()
    assert isinstance(failure, TlsFailed)
    assert (failure.code, exit_code(failure)) == (code, EXIT_USAGE)
    assert code == "tls_required" or "alert " in str(failure)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (lambda: of_registry(503), Unavailable, EXIT_UNAVAILABLE),
        (lambda: of_registry(429), Unavailable, EXIT_UNAVAILABLE),
        (lambda: of_registry(422), Misconfigured, EXIT_USAGE),
        (lambda: of_elasticsearch(503, "unavailable"), Unavailable, EXIT_UNAVAILABLE),
        (lambda: of_elasticsearch(403, "cluster_block_exception"), Unavailable, EXIT_UNAVAILABLE),
        (lambda: of_kafka(KafkaError._TRANSPORT), Unavailable, EXIT_UNAVAILABLE),
        (
            lambda: of_postgres(OperationalError("Connection refused")),
            Unavailable,
            EXIT_UNAVAILABLE,
        ),
    ],
)
def test_other_failures_keep_their_class(
    error: object, kind: type[RollbookError], code: int
) -> None:
    """A block on the writes of an index has status 403 too, but ends by itself."""
    assert callable(error)
    failure = error()
    assert type(failure) is kind
    assert exit_code(failure) == code


def test_elasticsearch_quotes_a_reason_only_about_permissions() -> None:
    """Other reasons quote the document, which is personal data."""
    assert "Jane" not in str(of_elasticsearch(403, "other_exception", "Jane"))
    item = {"index": {"status": 403, "error": {"type": "security_exception"}}}
    with pytest.raises(Forbidden, match="privilege write on it"):
        failed_lines(SETTINGS, "users-1", [("id", b"")], [item])


@pytest.mark.parametrize(
    ("errors", "noticed"),
    [
        ([KafkaError._AUTHENTICATION, KafkaError._ALL_BROKERS_DOWN], True),
        ([KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN], False),
    ],
)
def test_a_new_client_notices_a_refused_login_at_once(errors: list[int], *, noticed: bool) -> None:
    """And that no broker can be reached; an accepted login is no reason to wait either."""
    passed_on: list[KafkaError] = []
    watch = LoginWatch(passed_on.append)

    def ask(_seconds: float) -> None:
        for code in errors:
            watch.on_error(KafkaError(code))
        raise TimeoutError

    with closing(Consumer({"group.id": "none"})) as client:
        refusal = watch.refusal(client, ask)
        assert LoginWatch().refusal(client, lambda _: "an answer") is None
    assert (refusal is not None) is noticed
    assert [error.code() for error in passed_on] == errors


def test_a_refused_login_is_no_missing_permission() -> None:
    """Whatever the caller wanted to do."""
    refused = KafkaException(KafkaError(KafkaError._AUTHENTICATION))
    message = str(kafka_failure(SETTINGS, refused, "Describe on topic x"))
    assert LOGIN in message
    assert "Describe" not in message


def test_a_running_process_tries_again_every_30_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says what is missing, and continues once the permission is granted."""
    pauses: list[float] = []
    stop = StopSignal()
    monkeypatch.setattr(stop, "wait", pauses.append)
    outcomes = iter([Forbidden("denied: Read on topic x"), Unavailable("down"), None])

    def step() -> str:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        return "done"

    assert until_available(stop, step) == "done"
    assert pauses[0] == FORBIDDEN_RETRY_SECONDS == 30
    assert pauses[1] < 1  # an outage is retried sooner
    assert "denied: Read on topic x" in caplog.text


def test_a_backoff_waits_longer_for_a_permission_than_for_a_server() -> None:
    assert Backoff().after(Forbidden("denied")) > Backoff().after(Unavailable("down"))
