"""Settings: the values that all processes must agree on, and the origin of each.

A value is looked up in this order: `flags` of `load_settings` (no command passes any),
`ROLLBOOK_*` environment variable, TOML file, default. The TOML file is the one named by `--config`
or `ROLLBOOK_CONFIG`, else `./rollbook.toml`, else the one of the local stack named by
`ROLLBOOK_STACK` (default `default`), so that a pasted command finds the stack without any
configuration.

A secret is read from its environment variable or from the file that its `*_file` setting names,
which may be replaced at any time: see `Settings.secret`. A user name or password in a URL is moved
to its own setting, so that nothing prints it.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from runtime.configuration.files import find_config_file, read_toml
from runtime.configuration.logins import LOGINS
from runtime.configuration.rule import WrongValueError
from runtime.configuration.rules import check_values
from runtime.configuration.secrets import FileSecret, current
from runtime.configuration.variables import check_variables

_MANY_COPIES = 3


def _setting(default: Any, explanation: str, *, secret: bool = False) -> Any:
    metadata = {"explanation": explanation, "secret": secret}
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting of rollbook, validated: see `load_settings`."""

    kafka_bootstrap_servers: str = _setting("127.0.0.1:19092", "Kafka brokers, host:port,…")
    kafka_security_protocol: str = _setting(
        "plaintext", "plaintext, ssl, sasl_plaintext or sasl_ssl"
    )
    kafka_ssl_ca_location: str = _setting("", "file of the certificate authority for Kafka")
    kafka_ssl_certificate_location: str = _setting(
        "", "file of the certificate that shows brokers who connects (mutual TLS), and its chain"
    )
    kafka_ssl_key_location: str = _setting("", "file of the private key of that certificate")
    kafka_ssl_key_password: str = _setting("", "password of that key", secret=True)
    kafka_sasl_mechanism: str = _setting("", "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")
    kafka_sasl_username: str = _setting("", "user name for Kafka")
    kafka_sasl_password: str = _setting("", "password for Kafka", secret=True)
    kafka_oauth_token_url: str = _setting(
        "", "where clients get tokens for OAUTHBEARER: an OAuth token endpoint"
    )
    kafka_oauth_client_id: str = _setting("", "the name of the client there")
    kafka_oauth_client_secret: str = _setting("", "the secret of the client there", secret=True)
    kafka_oauth_scope: str = _setting("", "the scope that the tokens are requested for")
    kafka_options: str = _setting(
        "", "further options of librdkafka, without secrets: name=value,…"
    )
    registry_url: str = _setting(
        "http://127.0.0.1:18081/apis/ccompat/v7",
        "Confluent-compatible schema registry; several nodes: URL,URL,…",
    )
    registry_ca_location: str = _setting(
        "", "file of the certificate authority for the schema registry"
    )
    registry_username: str = _setting("", "user name for the schema registry")
    registry_password: str = _setting("", "password for the schema registry", secret=True)
    postgres_url: str = _setting(
        "postgresql://rollbook@127.0.0.1:15432/rollbook", "PostgreSQL: a URL or libpq parameters"
    )
    postgres_password: str = _setting("", "password for PostgreSQL", secret=True)
    elasticsearch_url: str = _setting(
        "http://127.0.0.1:19200", "Elasticsearch; several nodes: URL,URL,…"
    )
    elasticsearch_ca_location: str = _setting(
        "", "file of the certificate authority for Elasticsearch"
    )
    elasticsearch_username: str = _setting("", "user name for Elasticsearch")
    elasticsearch_password: str = _setting("", "password for Elasticsearch", secret=True)
    elasticsearch_api_key: str = _setting(
        "", "API key for Elasticsearch, in place of a user name and password", secret=True
    )
    elasticsearch_replicas: int = _setting(0, "replicas of each Elasticsearch index")
    prefix: str = _setting(
        "", "prefix of topics, groups, PostgreSQL schemas and indexes; one per registry on a stack"
    )
    partitions: int = _setting(8, "partitions of each topic, 1–4096, fixed for life")
    replication_factor: int = _setting(1, "copies of each topic; 3 in production")
    min_insync_replicas: int = _setting(
        0, "copies that must confirm a write; 0: 2 of three or more copies, else 1"
    )
    state_directory: str = _setting(
        "", "folder of lock files; by default, rollbook in the XDG state directory"
    )
    transaction_timeout_seconds: float = _setting(
        10.0, "after this time, the broker aborts the transaction of a handler that died"
    )
    session_timeout_seconds: float = _setting(
        6.0, "after this time, the group assigns the partitions of a dead member to another"
    )
    outcomes_window_seconds: float = _setting(
        300.0, "a handler remembers the command ids of this time, at most 604,800 (7 days)"
    )
    outcomes_window_count: int = _setting(
        20_000, "a handler also remembers the ids of the last so many commands of a partition"
    )
    clock_lead_seconds: float = _setting(
        0.0,
        "a partition whose last time is further ahead of the clock returns to the clock; at least "
        "60, or 0: never",
    )
    special_use_domains: str = _setting(
        "", "special-use domains (RFC 6761) whose addresses are accepted: local,test,…"
    )
    batch_commands: int = _setting(10_000, "the most commands decided in one transaction")
    batch_bytes: int = _setting(16_777_216, "the most bytes of commands in one transaction")
    batch_seconds: float = _setting(
        0.5, "under load, a transaction is as large as can be processed in this time"
    )
    dead_letters_in_a_row: int = _setting(
        100, "a projector stops after this many poisoned records without a good one between"
    )
    read_models: str = _setting(
        "", "custom read models: NAME=package.module:Class,… (docs/your-own-read-model.md)"
    )
    log_format: str = _setting("text", "text or json")
    metrics_listen: str = _setting(
        "", "host:port where a running process serves its metrics and probes; empty: nowhere"
    )
    tracing: str = _setting(
        "", "otlp: export traces as the OTEL_… variables say (docs/tracing.md); empty: none"
    )
    http_keys_file: str = _setting(
        "", "file of the keys that may use the services (`rollbook keys`)"
    )
    http_jwt_issuer: str = _setting("", "issuer whose JSON Web Tokens may use the services")
    http_jwt_audience: str = _setting("", "the audience that these tokens must name")
    http_jwt_keys_url: str = _setting(
        "", "where the issuer publishes its keys: the URL of a JSON Web Key Set"
    )
    http_tls_certificate: str = _setting(
        "", "file of the services' certificate and the chain that leads to it"
    )
    http_tls_key: str = _setting("", "file of the private key of that certificate")
    http_trusted_proxies: str = _setting(
        "", "addresses or networks of the proxies in front of the services, which terminate TLS"
    )
    http_cors_origins: str = _setting(
        "", "origins of web pages that may call the services: https://host,…"
    )
    http_body_bytes: int = _setting(65_536, "the largest body of a request that is no stream")
    http_request_seconds: float = _setting(60.0, "a request is answered or refused in this time")
    http_commands_url: str = _setting(
        "http://127.0.0.1:18082", "where the console finds the service for commands"
    )
    http_queries_url: str = _setting(
        "http://127.0.0.1:18083", "where the console finds the service for queries"
    )
    http_ca_location: str = _setting(
        "", "file of the certificate authority of those services; empty: this system's authorities"
    )
    http_requests_per_second: float = _setting(
        0.0, "requests that each caller may make, unless its key says otherwise; 0: any number"
    )

    def __post_init__(self) -> None:
        """Move the logins of URLs to their settings, and check all values.

        Raises `Misconfigured`, naming the setting, for a value that cannot work.
        """
        self._separate_logins()
        if self.min_insync_replicas == 0:
            copies = 2 if self.replication_factor >= _MANY_COPIES else 1
            object.__setattr__(self, "min_insync_replicas", copies)
        check_values(self)

    def _separate_logins(self) -> None:
        """Move user names and passwords from URLs to their own settings, which take precedence."""
        for name, login_of in LOGINS.items():
            service = name.removesuffix("_url")
            try:
                url, username, password = login_of(getattr(self, name))
            except ValueError as error:
                raise WrongValueError(name, str(error)) from None
            found = {name: url}
            if getattr(self, f"{service}_username", "") in ("", username):
                found |= {f"{service}_username": username} if name != "postgres_url" else {}
                if password and not getattr(self, f"{service}_password"):
                    found[f"{service}_password"] = password
            for setting, value in found.items():
                object.__setattr__(self, setting, value)  # the settings are frozen

    def secret(self, name: str) -> str:
        """Return the present value of secret `name`: its file, if it has one, is read again."""
        return current(getattr(self, name))

    def named(self, name: str) -> str:
        """Return `name` with the prefix: the name of a topic, group or index on the servers."""
        return f"{self.prefix}-{name}" if self.prefix else name


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings and, for `rollbook config show`, the origin of each value."""

    settings: Settings
    origins: Mapping[str, str]


def load_settings(
    flags: Mapping[str, Any] | None = None, *, config: str | None = None
) -> LoadedSettings:
    """Return the settings: flag > environment > TOML file > default.

    Logs a warning for a `ROLLBOOK_…` variable that is no setting. Raises `Misconfigured`, naming
    the setting and its origin, for an unknown name or an invalid value.
    """
    check_variables(os.environ, {name.upper() for name in _names_in_file()})
    path = find_config_file(config)
    from_file = read_toml(path, _names_in_file()) if path else {}
    flags = {name: value for name, value in (flags or {}).items() if value is not None}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for spec in fields(Settings):
        name, variable = spec.name, f"ROLLBOOK_{spec.name.upper()}"
        origin = "default"
        if name in flags:
            value, origin = flags[name], "flag"
        elif variable in os.environ:
            value, origin = os.environ[variable], f"environment {variable}"
        elif spec.metadata["secret"] and f"{variable}_FILE" in os.environ:
            file, origin = os.environ[f"{variable}_FILE"], f"{variable}_FILE"
            value = FileSecret.read(file, name)
        elif spec.metadata["secret"] and f"{name}_file" in from_file:
            file, origin = from_file[f"{name}_file"], f"{name}_file in {path}"
            value = FileSecret.read(file, name)
        elif name in from_file:
            value, origin = from_file[name], str(path)
        else:
            value = spec.default
        values[name], origins[name] = _convert(value, spec.default, name, origin), origin
    try:
        settings = Settings(**values)
    except WrongValueError as wrong:
        origin = origins[wrong.name].removeprefix("default")
        raise WrongValueError(wrong.name, wrong.rule, origin) from None
    return LoadedSettings(settings, origins | _origins_of_logins(settings, values, origins))


def _origins_of_logins(
    settings: Settings, values: Mapping[str, Any], origins: Mapping[str, str]
) -> dict[str, str]:
    """Return the origins of user names and passwords that came from a URL."""
    return {
        name: origins[url]
        for url in LOGINS
        for kind in ("username", "password")
        if (name := f"{url.removesuffix('_url')}_{kind}") in values
        and getattr(settings, name) != values[name]
    }


def _names_in_file() -> set[str]:
    secrets = {f"{spec.name}_file" for spec in fields(Settings) if spec.metadata["secret"]}
    return secrets | {spec.name for spec in fields(Settings)}


def _convert(value: Any, default: Any, name: str, origin: str) -> Any:
    """Return `value` converted to the type of its default: the environment has only text."""
    kind = type(default)
    try:
        return _as_kind(value, kind)
    except (ValueError, TypeError, OverflowError) as error:
        wanted = {str: "text", int: "a whole number", float: "a number"}[kind]
        raise WrongValueError(name, f"must be {wanted}", origin) from error


def _as_kind(value: Any, kind: type) -> Any:
    if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
        raise TypeError
    # A partition count of 1.5 must not become 1.
    if kind is int and isinstance(value, float) and not value.is_integer():
        raise ValueError
    if kind is str:
        return value  # `str` would make a secret forget its file
    converted = kind(value)
    if kind is float and not math.isfinite(converted):
        raise ValueError
    return converted
