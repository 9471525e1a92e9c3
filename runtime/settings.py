"""Settings: the values that all processes must agree on, and the origin of each.

A value is looked up in this order: `flags` of `load_settings` (no command passes any),
`ROLLBOOK_*` environment variable, TOML file, default. The TOML file is the one named by `--config`
or `ROLLBOOK_CONFIG`, else `./rollbook.toml`, else the one of the local stack named by
`ROLLBOOK_STACK` (default `default`), so that a pasted command finds the stack without any
configuration.

A secret is read from its environment variable or from the file that its `*_file` setting names. A
user name or password in a URL is moved to its own setting, so that nothing prints it.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from runtime.logins import LOGINS
from runtime.setting_files import find_config_file, read_secret, read_toml
from runtime.variables import check_variables
from schemas.errors import Misconfigured
from schemas.identity import SHARDS
from schemas.special_use import RESERVED_FOR

_MANY_COPIES = 3
_MOST_WINDOW_SECONDS = 7 * 86_400  # the topic keeps outcomes for a day more


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
    kafka_sasl_mechanism: str = _setting("", "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
    kafka_sasl_username: str = _setting("", "user name for Kafka")
    kafka_sasl_password: str = _setting("", "password for Kafka", secret=True)
    registry_url: str = _setting(
        "http://127.0.0.1:18081/apis/ccompat/v7", "Confluent-compatible schema registry"
    )
    registry_username: str = _setting("", "user name for the schema registry")
    registry_password: str = _setting("", "password for the schema registry", secret=True)
    postgres_url: str = _setting(
        "postgresql://rollbook@127.0.0.1:15432/rollbook", "PostgreSQL: a URL or libpq parameters"
    )
    postgres_password: str = _setting("", "password for PostgreSQL", secret=True)
    elasticsearch_url: str = _setting("http://127.0.0.1:19200", "Elasticsearch")
    elasticsearch_username: str = _setting("", "user name for Elasticsearch")
    elasticsearch_password: str = _setting("", "password for Elasticsearch", secret=True)
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
        "a partition whose last time is further ahead of the clock returns to the clock; 0: never",
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

    def __post_init__(self) -> None:
        """Move the logins of URLs to their settings, and check all values.

        Raises `Misconfigured`, naming the setting, for a value that cannot work.
        """
        self._separate_logins()
        _require(1 <= self.partitions <= SHARDS, "partitions", f"must be from 1 to {SHARDS}")
        _require(self.replication_factor >= 1, "replication_factor", "must be at least 1")
        if self.min_insync_replicas == 0:
            copies = 2 if self.replication_factor >= _MANY_COPIES else 1
            object.__setattr__(self, "min_insync_replicas", copies)
        is_possible = 1 <= self.min_insync_replicas <= self.replication_factor
        _require(is_possible, "min_insync_replicas", "must be from 0 to replication_factor")
        _require(
            re.fullmatch(r"([a-z0-9][a-z0-9-]{0,39})?", self.prefix) is not None,
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
            _require(getattr(self, name) > 0, name, "must be more than 0")
        _require(
            self.batch_seconds <= self.transaction_timeout_seconds / 2,
            "batch_seconds",
            "must be at most half of transaction_timeout_seconds",
        )
        _require(
            self.outcomes_window_seconds <= _MOST_WINDOW_SECONDS,
            "outcomes_window_seconds",
            f"must be at most {_MOST_WINDOW_SECONDS}",
        )
        _require(self.clock_lead_seconds >= 0, "clock_lead_seconds", "must be 0 or more")
        _require(self.elasticsearch_replicas >= 0, "elasticsearch_replicas", "must be 0 or more")
        _require(self.log_format in {"text", "json"}, "log_format", "must be text or json")
        _require(
            set(self.special_use_domains.split(",")) <= {"", *RESERVED_FOR},
            "special_use_domains",
            f"must be among {','.join(RESERVED_FOR)}",
        )
        self._require_addresses()

    def _separate_logins(self) -> None:
        """Move user names and passwords from URLs to their own settings, which take precedence."""
        for name, login_of in LOGINS.items():
            service = name.removesuffix("_url")
            try:
                url, username, password = login_of(getattr(self, name))
            except ValueError as error:
                raise _WrongValueError(name, str(error)) from None
            found = {name: url}
            if getattr(self, f"{service}_username", "") in ("", username):
                found |= {f"{service}_username": username} if name != "postgres_url" else {}
                if password and not getattr(self, f"{service}_password"):
                    found[f"{service}_password"] = password
            for setting, value in found.items():
                object.__setattr__(self, setting, value)  # the settings are frozen

    def _require_addresses(self) -> None:
        """Raise `Misconfigured` for values on which the clients would fail later."""
        _require(
            bool(self.kafka_bootstrap_servers), "kafka_bootstrap_servers", "must name a broker"
        )
        _require(
            "@" not in self.kafka_bootstrap_servers,
            "kafka_bootstrap_servers",
            "must not have an @: a login belongs to kafka_sasl_username and kafka_sasl_password",
        )
        for name, choices in (
            ("kafka_security_protocol", ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")),
            ("kafka_sasl_mechanism", ("", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")),
        ):
            wanted = f"must be one of {', '.join(filter(None, choices))}"
            _require(getattr(self, name).upper() in {c.upper() for c in choices}, name, wanted)
        for name, begin, example in (
            ("registry_url", r"https?://.", "http://host:port"),
            ("elasticsearch_url", r"https?://.", "http://host:port"),
            ("postgres_url", r"postgres(ql)?://|\w+ *=", "postgresql://user@host:port/database"),
        ):
            fits = re.match(begin, getattr(self, name)) is not None
            _require(fits, name, f"must be an address like {example}")

    def named(self, name: str) -> str:
        """Return `name` with the prefix: the name of a topic, group or index on the servers."""
        return f"{self.prefix}-{name}" if self.prefix else name


class _WrongValueError(Misconfigured):
    """A setting whose value cannot work; `origin` is where it came from, '' if unknown."""

    def __init__(self, name: str, rule: str, origin: str = "") -> None:
        where = f" from {origin}" if origin else ""
        super().__init__(
            f"setting {name}{where} {rule}", code="bad_setting", next_step="correct it"
        )
        self.name = name
        self.rule = rule


def _require(condition: bool, name: str, rule: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not condition:
        raise _WrongValueError(name, rule)


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
            value, origin = read_secret(os.environ[f"{variable}_FILE"], name), f"{variable}_FILE"
        elif spec.metadata["secret"] and f"{name}_file" in from_file:
            value, origin = read_secret(from_file[f"{name}_file"], name), f"{name}_file in {path}"
        elif name in from_file:
            value, origin = from_file[name], str(path)
        else:
            value = spec.default
        values[name], origins[name] = _convert(value, spec.default, name, origin), origin
    try:
        settings = Settings(**values)
    except _WrongValueError as wrong:
        raise _WrongValueError(wrong.name, wrong.rule, origins[wrong.name]) from None
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
        raise _WrongValueError(name, f"must be {wanted}", origin) from error


def _as_kind(value: Any, kind: type) -> Any:
    if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
        raise TypeError
    # A partition count of 1.5 must not become 1.
    if kind is int and isinstance(value, float) and not value.is_integer():
        raise ValueError
    converted = kind(value)
    if kind is float and not math.isfinite(converted):
        raise ValueError
    return converted
