"""The rules that the values of settings must follow, before any client fails on one of them."""

import re
from ipaddress import ip_network
from typing import TYPE_CHECKING

from runtime.addresses import parse_address
from schemas.errors import Misconfigured
from schemas.identity import SHARDS
from schemas.special_use import RESERVED_FOR

if TYPE_CHECKING:
    from runtime.settings import Settings

_LEAST_LEAD_SECONDS = 60
_MOST_WINDOW_SECONDS = 7 * 86_400  # the topic keeps outcomes for a day more


class WrongValueError(Misconfigured):
    """A setting whose value cannot work; `origin` is where it came from, '' if unknown."""

    def __init__(self, name: str, rule: str, origin: str = "") -> None:
        where = f" from {origin}" if origin else ""
        super().__init__(
            f"setting {name}{where} {rule}", code="bad_setting", next_step="correct it"
        )
        self.name = name
        self.rule = rule


def _check_clock_lead(seconds: float) -> None:
    # Handlers follow one another's clocks for a minute. One that went back from there would stamp
    # an effect earlier than its cause, and a backup might hold only the effect.
    _require(
        seconds == 0 or seconds >= _LEAST_LEAD_SECONDS,
        "clock_lead_seconds",
        f"must be 0 or at least {_LEAST_LEAD_SECONDS}",
    )


def _require(condition: bool, name: str, rule: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not condition:
        raise WrongValueError(name, rule)


def check_values(settings: "Settings") -> None:
    """Raise `Misconfigured`, naming the setting, for a value that cannot work."""
    _require(1 <= settings.partitions <= SHARDS, "partitions", f"must be from 1 to {SHARDS}")
    _require(settings.replication_factor >= 1, "replication_factor", "must be at least 1")
    is_possible = 1 <= settings.min_insync_replicas <= settings.replication_factor
    _require(is_possible, "min_insync_replicas", "must be from 0 to replication_factor")
    _require(
        re.fullmatch(r"([a-z0-9][a-z0-9-]{0,39})?", settings.prefix) is not None,
        "prefix",
        "must be at most 40 lower-case letters, digits and hyphens, no hyphen first",
    )
    for name in (
        "transaction_timeout_seconds",
        "session_timeout_seconds",
        "outcomes_window_seconds",
        "outcomes_window_count",
        "batch_commands",
        "batch_bytes",
        "batch_seconds",
        "dead_letters_in_a_row",
    ):
        _require(getattr(settings, name) > 0, name, "must be more than 0")
    _require(
        settings.batch_seconds <= settings.transaction_timeout_seconds / 2,
        "batch_seconds",
        "must be at most half of transaction_timeout_seconds",
    )
    _require(
        settings.outcomes_window_seconds <= _MOST_WINDOW_SECONDS,
        "outcomes_window_seconds",
        f"must be at most {_MOST_WINDOW_SECONDS}",
    )
    _check_clock_lead(settings.clock_lead_seconds)
    _require(settings.elasticsearch_replicas >= 0, "elasticsearch_replicas", "must be 0 or more")
    _require(settings.log_format in {"text", "json"}, "log_format", "must be text or json")
    _require(settings.tracing in {"", "otlp"}, "tracing", "must be otlp or empty")
    _require(
        not settings.metrics_listen or parse_address(settings.metrics_listen) is not None,
        "metrics_listen",
        "must be an address like 127.0.0.1:9464",
    )
    _require(
        set(settings.special_use_domains.split(",")) <= {"", *RESERVED_FOR},
        "special_use_domains",
        f"must be among {','.join(RESERVED_FOR)}",
    )
    _check_addresses(settings)
    _check_http(settings)


def _check_addresses(settings: "Settings") -> None:
    """Raise `Misconfigured` for values on which the clients would fail later."""
    _require(
        bool(settings.kafka_bootstrap_servers), "kafka_bootstrap_servers", "must name a broker"
    )
    _require(
        "@" not in settings.kafka_bootstrap_servers,
        "kafka_bootstrap_servers",
        "must not have an @: a login belongs to kafka_sasl_username and kafka_sasl_password",
    )
    for name, choices in (
        ("kafka_security_protocol", ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")),
        ("kafka_sasl_mechanism", ("", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")),
    ):
        wanted = f"must be one of {', '.join(filter(None, choices))}"
        _require(getattr(settings, name).upper() in {c.upper() for c in choices}, name, wanted)
    for name, begin, example in (
        ("registry_url", r"https?://.", "http://host:port"),
        ("elasticsearch_url", r"https?://.", "http://host:port"),
        ("http_commands_url", r"https?://.", "http://host:port"),
        ("http_queries_url", r"https?://.", "http://host:port"),
        ("postgres_url", r"postgres(ql)?://|\w+ *=", "postgresql://user@host:port/database"),
    ):
        fits = re.match(begin, getattr(settings, name)) is not None
        _require(fits, name, f"must be an address like {example}")
    # Unlike the servers' URLs, these need no login, so none is separated from them.
    for name in ("http_commands_url", "http_queries_url", "http_jwt_keys_url"):
        _require("@" not in getattr(settings, name), name, "must not have an @: it takes no login")


def _check_http(settings: "Settings") -> None:
    """Raise `Misconfigured` unless the settings of the services over HTTP fit together."""
    for several in (
        ("http_jwt_issuer", "http_jwt_audience", "http_jwt_keys_url"),
        ("http_tls_certificate", "http_tls_key"),
    ):
        given = [name for name in several if getattr(settings, name)]
        for name in several if given else ():
            _require(bool(getattr(settings, name)), name, f"must be set, because {given[0]} is")
    url = settings.http_jwt_keys_url
    # Whoever can change the keys on their way here can issue tokens.
    is_safe = re.match(r"https://.|http://(localhost|127\.0\.0\.1|\[::1\])[:/]", url) is not None
    _require(not url or is_safe, "http_jwt_keys_url", "must begin with https://")
    for origin in filter(None, settings.http_cors_origins.split(",")):
        is_origin = re.fullmatch(r"https?://[^/?#@*\s]+", origin) is not None
        _require(is_origin, "http_cors_origins", "must be origins like https://host:port")
    for network in filter(None, settings.http_trusted_proxies.split(",")):
        _require(_is_network(network), "http_trusted_proxies", "must be addresses or networks")
    _require(settings.http_body_bytes > 0, "http_body_bytes", "must be more than 0")
    _require(settings.http_request_seconds > 0, "http_request_seconds", "must be more than 0")
    rate = settings.http_requests_per_second
    _require(rate >= 0, "http_requests_per_second", "must be 0 or more")


def _is_network(text: str) -> bool:
    try:
        ip_network(text.strip())
    except ValueError:
        return False
    return True
