"""Options of librdkafka are passed on, except those that would break a guarantee."""

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from producers.client.delivery import COMMAND_PRODUCER
from runtime.configuration.kafka_options import REFUSED, parse_options
from runtime.kafka.clients import (
    client_config,
    consumer_config,
    producer_config,
    transactional_config,
)
from runtime.settings import Settings
from schemas.errors import Misconfigured

SECRET = "s3cret"
# What rollbook prefers, but does not depend on.
OVERRIDABLE = {
    "compression.type",
    "reconnect.backoff.ms",
    "reconnect.backoff.max.ms",
    "socket.timeout.ms",
    "topic.metadata.refresh.interval.ms",
}
CALLBACKS = {"error_cb", "logger"}


@pytest.mark.parametrize("options", ["", "socket.timeout.ms=60000"])
def test_a_transaction_outlasts_a_broker_that_hangs(options: str) -> None:
    """A producer that would wait longer for an answer is refused by librdkafka."""
    settings = Settings(transaction_timeout_seconds=3, kafka_options=options)
    config = transactional_config(settings, "t")
    assert config["socket.timeout.ms"] == config["transaction.timeout.ms"] == 3_000
    Producer(config | {"bootstrap.servers": "127.0.0.1:1"})


def test_they_reach_every_client_and_override_only_preferences() -> None:
    given = {"client.rack": "a", "compression.type": "zstd", "reconnect.backoff.max.ms": "5000"}
    settings = Settings(kafka_options=",".join(f"{name}={v}" for name, v in given.items()))
    for config in (
        client_config(settings),
        consumer_config(settings, "g"),
        producer_config(settings),
        transactional_config(settings, "t"),
    ):
        assert given.items() <= config.items()


def test_a_comma_in_a_value_has_a_backslash() -> None:
    text = r"sasl.oauthbearer.extensions=a=b\,c=d, client.rack=x"
    assert parse_options(text) == {"sasl.oauthbearer.extensions": "a=b,c=d", "client.rack": "x"}
    assert parse_options(" ") == {}


def set_by_rollbook() -> Iterator[str]:
    """Yield every option that the code sets for its clients."""
    secured = Settings(
        kafka_security_protocol="sasl_ssl",
        kafka_sasl_mechanism="PLAIN",
        kafka_sasl_username="u",
        kafka_sasl_password="p",
    )
    yield from consumer_config(secured, "g")
    yield from transactional_config(secured, "t")
    yield from COMMAND_PRODUCER


def test_what_rollbook_sets_is_refused_unless_it_may_be_overridden() -> None:
    """Otherwise an option would be ignored silently, or undo a decision."""
    assert set(set_by_rollbook()) - OVERRIDABLE - CALLBACKS <= set(REFUSED)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        *((f"{name}={SECRET}", name) for name in REFUSED),
        (f"client.rack=a,sasl.password={SECRET}", "sasl.password"),
        (f"stats_cb={SECRET}", "stats_cb"),
        (f"no.such.option={SECRET}", "no.such.option"),
        (f"socket.timeout.ms={SECRET}", "socket.timeout.ms"),
        ("socket.timeout.ms=0", "socket.timeout.ms"),
        ("client.rack=a,client.rack=b", "client.rack twice"),
        (SECRET, "name=value"),
        (f"client.rack=,{SECRET}", "name=value"),
        (f"client.rack=a,{SECRET}", "see 2"),
    ],
)
def test_a_wrong_option_is_refused_by_name_and_not_quoted(text: str, named: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        Settings(kafka_options=text)
    message = str(refused.value)
    assert message.startswith("setting kafka_options ")
    assert named in message
    assert SECRET not in message
