"""Options of librdkafka that `kafka_options` passes on, and those that it refuses.

librdkafka has about 200 options, and new ones with each release; brokers in other networks need
some of them (timeouts, buffers, address families, cipher suites). Most are harmless, so the refused
ones are listed. An option that may hold a secret is always among them: `config show` prints the
setting.
"""

import re
from collections.abc import Mapping
from typing import Final

_PART: Final = re.compile(r"([a-z][a-z0-9_.]*)=(.+)", re.DOTALL)
WITHOUT_DOT: Final = "it is for programs, not for settings"


def _because(reason: str, *options: str) -> dict[str, str]:
    return dict.fromkeys(options, reason)


# Each with its reason, which completes "refused: …". Aliases are options of their own.
REFUSED: Final[Mapping[str, str]] = {
    **_because("use kafka_bootstrap_servers", "bootstrap.servers", "metadata.broker.list"),
    **_because("use kafka_security_protocol", "security.protocol"),
    **_because("use kafka_ssl_ca_location", "ssl.ca.location", "ssl.ca.pem"),
    **_because(
        "use kafka_ssl_certificate_location", "ssl.certificate.location", "ssl.certificate.pem"
    ),
    **_because("use kafka_ssl_key_location", "ssl.key.location", "ssl.key.pem"),
    **_because("use kafka_ssl_key_password", "ssl.key.password"),
    **_because(
        "use kafka_ssl_certificate_location and kafka_ssl_key_location",
        "ssl.keystore.location",
        "ssl.keystore.password",
    ),
    **_because("use kafka_sasl_mechanism", "sasl.mechanism", "sasl.mechanisms"),
    **_because("use kafka_sasl_username", "sasl.username"),
    **_because("use kafka_sasl_password", "sasl.password"),
    **_because("use kafka_oauth_token_url", "sasl.oauthbearer.token.endpoint.url"),
    **_because(
        "use kafka_oauth_client_id",
        "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.client.credentials.client.id",
    ),
    **_because(
        "use kafka_oauth_client_secret",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.client.credentials.client.secret",
    ),
    **_because("use kafka_oauth_scope", "sasl.oauthbearer.scope"),
    **_because("use transaction_timeout_seconds", "transaction.timeout.ms"),
    **_because("use session_timeout_seconds", "session.timeout.ms", "heartbeat.interval.ms"),
    **_because(
        "it may hold a secret",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.assertion.private.key.pem",
    ),
    **_because(
        "brokers and tokens are always verified",
        "enable.ssl.certificate.verification",
        "ssl.endpoint.identification.algorithm",
        "enable.sasl.oauthbearer.unsecure.jwt",
        "sasl.oauthbearer.method",
        "test.mock.num.brokers",
        "test.mock.broker.rtt",
    ),
    **_because(
        "it loads or runs other programs",
        "plugin.library.paths",
        "ssl.providers",
        "ssl.engine.location",
        "ssl.engine.id",
        "sasl.kerberos.kinit.cmd",
    ),
    **_because(
        "records could be lost, repeated or reordered",
        "enable.idempotence",
        "enable.gapless.guarantee",
        "request.required.acks",
        "max.in.flight",
        "max.in.flight.requests.per.connection",
        "message.send.max.retries",
        "queuing.strategy",
        "delivery.report.only.error",
    ),
    **_because(
        "how long a record may wait is decided for each producer",
        "message.timeout.ms",
        "delivery.timeout.ms",
    ),
    **_because("another process could be fenced, or none", "transactional.id"),
    **_because(
        "partitions belong to the processes by their groups",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "group.protocol.type",
        "group.remote.assignor",
        "partition.assignment.strategy",
        "max.poll.interval.ms",
    ),
    **_because("handlers find one another's hosts by it", "client.id"),
    **_because(
        "positions are stored with the results of their records",
        "enable.auto.commit",
        "auto.commit.enable",
        "auto.commit.interval.ms",
        "enable.auto.offset.store",
        "offset.store.method",
        "offset.store.path",
        "offset.store.sync.interval.ms",
    ),
    **_because("a lost position must be an error, never a jump", "auto.offset.reset"),
    **_because(
        "records of aborted transactions could be read",
        "isolation.level",
        "api.version.request",
        "api.version.fallback.ms",
        "broker.version.fallback",
    ),
    **_because("damaged records could be read", "check.crcs"),
    **_because("the ends of partitions are found with it", "enable.partition.eof"),
    **_because(
        "topics are created by `rollbook topics ensure`",
        "allow.auto.create.topics",
        "topic.blacklist",
    ),
    **_because(
        "rollbook sets it for each of its clients",
        "batch.num.messages",
        "enable.sparse.connections",
        "fetch.queue.backoff.ms",
        "fetch.wait.max.ms",
        "linger.ms",
        "queue.buffering.max.messages",
        "queue.buffering.max.ms",
        "queued.max.messages.kbytes",
        "queued.min.messages",
        "retry.backoff.max.ms",
        "retry.backoff.ms",
        "statistics.interval.ms",
    ),
    # These names have no dot; so has every callback.
    **_because("records could be lost, repeated or reordered", "acks", "retries"),
    **_because("it must be the same for all producers", "partitioner"),
    **_because("its output may contain personal data", "debug"),
}


def parse_options(text: str) -> dict[str, str]:
    r"""Return the options of `name=value,…`; a comma in a value is written `\,`.

    Raises ValueError, whose message is a rule for the setting and repeats no value.
    """
    options: dict[str, str] = {}
    for number, part in enumerate(re.split(r"(?<!\\),", text) if text.strip() else (), 1):
        found = _PART.fullmatch(part.strip())
        if found is None:
            raise ValueError(rf"must be name=value,… with \, for a comma in a value: see {number}")
        name, value = found[1], found[2].replace(r"\,", ",")
        if name in options:
            raise ValueError(f"must not name {name} twice")
        options[name] = value
    for name in options:
        reason = REFUSED.get(name, "" if "." in name else WITHOUT_DOT)
        if reason:
            raise ValueError(f"must not have {name}: {reason}")
    return options
