"""The rules that the values of settings must follow, before any client fails on one of them."""

import re
from ipaddress import ip_network
from typing import TYPE_CHECKING

from runtime.configuration.rule import require
from runtime.configuration.servers import check_servers, is_safe_url
from runtime.network.addresses import parse_address
from schemas.fields.special_use import RESERVED_FOR
from schemas.identity import SHARDS

if TYPE_CHECKING:
    from runtime.settings import Settings

_LEAST_LEAD_SECONDS = 60
_MOST_WINDOW_SECONDS = 7 * 86_400  # the topic keeps outcomes for a day more


def _check_clock_lead(seconds: float) -> None:
    # Handlers follow one another's clocks for a minute. One that went back from there would stamp
    # an effect earlier than its cause, and a backup might hold only the effect.
    require(
        seconds == 0 or seconds >= _LEAST_LEAD_SECONDS,
        "clock_lead_seconds",
        f"must be 0 or at least {_LEAST_LEAD_SECONDS}",
    )


def check_values(settings: "Settings") -> None:
    """Raise `Misconfigured`, naming the setting, for a value that cannot work."""
    require(1 <= settings.partitions <= SHARDS, "partitions", f"must be from 1 to {SHARDS}")
    require(settings.replication_factor >= 1, "replication_factor", "must be at least 1")
    is_possible = 1 <= settings.min_insync_replicas <= settings.replication_factor
    require(is_possible, "min_insync_replicas", "must be from 0 to replication_factor")
    require(
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
        require(getattr(settings, name) > 0, name, "must be more than 0")
    require(
        settings.batch_seconds <= settings.transaction_timeout_seconds / 2,
        "batch_seconds",
        "must be at most half of transaction_timeout_seconds",
    )
    require(
        settings.outcomes_window_seconds <= _MOST_WINDOW_SECONDS,
        "outcomes_window_seconds",
        f"must be at most {_MOST_WINDOW_SECONDS}",
    )
    _check_clock_lead(settings.clock_lead_seconds)
    require(settings.elasticsearch_replicas >= 0, "elasticsearch_replicas", "must be 0 or more")
    require(settings.log_format in {"text", "json"}, "log_format", "must be text or json")
    require(settings.tracing in {"", "otlp"}, "tracing", "must be otlp or empty")
    require(
        not settings.metrics_listen or parse_address(settings.metrics_listen) is not None,
        "metrics_listen",
        "must be an address like 127.0.0.1:9464",
    )
    require(
        set(settings.special_use_domains.split(",")) <= {"", *RESERVED_FOR},
        "special_use_domains",
        f"must be among {','.join(RESERVED_FOR)}",
    )
    check_servers(settings)
    _check_http_urls(settings)
    _check_http(settings)


def _check_http_urls(settings: "Settings") -> None:
    for name in ("http_commands_url", "http_queries_url"):
        fits = re.match(r"https?://.", getattr(settings, name)) is not None
        require(fits, name, "must be an address like http://host:port")
    # Unlike the servers' URLs, these need no login, so none is separated from them.
    for name in ("http_commands_url", "http_queries_url", "http_jwt_keys_url"):
        require("@" not in getattr(settings, name), name, "must not have an @: it takes no login")


def _check_http(settings: "Settings") -> None:
    """Raise `Misconfigured` unless the settings of the services over HTTP fit together."""
    for several in (
        ("http_jwt_issuer", "http_jwt_audience", "http_jwt_keys_url"),
        ("http_tls_certificate", "http_tls_key"),
    ):
        given = [name for name in several if getattr(settings, name)]
        for name in several if given else ():
            require(bool(getattr(settings, name)), name, f"must be set, because {given[0]} is")
    if settings.http_ca_location:
        from runtime.configuration.tls_files import authority_fault

        fault = authority_fault(settings.http_ca_location)
        require(not fault, "http_ca_location", fault)
    url = settings.http_jwt_keys_url
    # Whoever can change the keys on their way here can issue tokens.
    require(not url or is_safe_url(url), "http_jwt_keys_url", "must begin with https://")
    for origin in filter(None, settings.http_cors_origins.split(",")):
        is_origin = re.fullmatch(r"https?://[^/?#@*\s]+", origin) is not None
        require(is_origin, "http_cors_origins", "must be origins like https://host:port")
    for network in filter(None, settings.http_trusted_proxies.split(",")):
        require(_is_network(network), "http_trusted_proxies", "must be addresses or networks")
    require(settings.http_body_bytes > 0, "http_body_bytes", "must be more than 0")
    require(settings.http_request_seconds > 0, "http_request_seconds", "must be more than 0")
    rate = settings.http_requests_per_second
    require(rate >= 0, "http_requests_per_second", "must be 0 or more")


def _is_network(text: str) -> bool:
    try:
        ip_network(text.strip())
    except ValueError:
        return False
    return True
