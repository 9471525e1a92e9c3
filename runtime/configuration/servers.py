"""The rules for the settings of the four servers: addresses, TLS, and logins that fit together."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from runtime.configuration.kafka_connection import option_error
from runtime.configuration.kafka_options import parse_options
from runtime.configuration.logins import urls_of
from runtime.configuration.rule import require

if TYPE_CHECKING:
    from runtime.settings import Settings

_PROTOCOLS: Final = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
_OAUTH: Final = "OAUTHBEARER"
_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", _OAUTH)
_KAFKA_TLS: Final = (
    "kafka_ssl_ca_location",
    "kafka_ssl_certificate_location",
    "kafka_ssl_key_location",
    "kafka_ssl_key_password",
)
_PASSWORD: Final = ("kafka_sasl_username", "kafka_sasl_password")
_TOKEN: Final = ("kafka_oauth_token_url", "kafka_oauth_client_id", "kafka_oauth_client_secret")
# Parameters of libpq that name a file, in a URL or a connection string. `system` is no file.
_POSTGRES_FILES: Final = re.compile(
    r"(?:[?&\s]|^)(sslrootcert|sslcert|sslkey|sslcrl)\s*=\s*(?!system\b)('[^']*'|[^&\s]+)"
)


def check_servers(settings: "Settings") -> None:
    """Raise `WrongValueError` for a value on which a client of a server would fail later."""
    _check_brokers(settings)
    _check_kafka_files(settings)
    _check_kafka_login(settings)
    _check_options(settings)
    for service in ("registry", "elasticsearch"):
        _check_http_server(settings, service)
    _check_api_key(settings)
    fits = re.match(r"postgres(ql)?://|\w+ *=", settings.postgres_url) is not None
    require(fits, "postgres_url", "must be an address like postgresql://user@host:port/database")
    for parameter, path in postgres_files(settings.postgres_url):
        from runtime.configuration.tls_files import unreadable_file

        fault = unreadable_file(path)
        require(not fault, "postgres_url", f"has {parameter}, which {fault}")


def postgres_files(url: str) -> Iterator[tuple[str, str]]:
    """Yield the parameters of a PostgreSQL URL or connection string that name a file of TLS."""
    for parameter, value in _POSTGRES_FILES.findall(url):
        yield parameter, unquote(value) if "://" in url else value.strip("'")


def _check_brokers(settings: "Settings") -> None:
    name = "kafka_bootstrap_servers"
    require(bool(settings.kafka_bootstrap_servers), name, "must name a broker")
    require(
        "@" not in settings.kafka_bootstrap_servers,
        name,
        "must not have an @: a login belongs to kafka_sasl_username and kafka_sasl_password",
    )
    for name, choices in (
        ("kafka_security_protocol", _PROTOCOLS),
        ("kafka_sasl_mechanism", ("", *_MECHANISMS)),
    ):
        wanted = f"must be one of {', '.join(filter(None, choices))}"
        require(getattr(settings, name).upper() in {c.upper() for c in choices}, name, wanted)


def _check_kafka_files(settings: "Settings") -> None:
    given = [name for name in _KAFKA_TLS if getattr(settings, name)]
    if not given:
        return
    require(
        settings.kafka_security_protocol.lower().endswith("ssl"),
        "kafka_security_protocol",
        f"must be ssl or sasl_ssl, because {given[0]} is set",
    )
    from runtime.configuration import tls_files  # with TLS only: it takes 10 ms

    if settings.kafka_ssl_ca_location:
        fault = tls_files.authority_fault(settings.kafka_ssl_ca_location)
        require(not fault, "kafka_ssl_ca_location", fault)
    certificate, key = settings.kafka_ssl_certificate_location, settings.kafka_ssl_key_location
    if certificate or key or settings.kafka_ssl_key_password:
        reason = f"must be set, because {given[-1]} is"
        require(bool(certificate), "kafka_ssl_certificate_location", reason)
        reason = "must be set, because kafka_ssl_certificate_location is"
        require(bool(key), "kafka_ssl_key_location", reason)
        fault = tls_files.certificate_fault(certificate)
        require(not fault, "kafka_ssl_certificate_location", fault)
        fault, of_password = tls_files.key_fault(certificate, key, settings.kafka_ssl_key_password)
        require(not fault, "kafka_ssl_key_location", fault)
        require(not of_password, "kafka_ssl_key_password", of_password)


def _check_kafka_login(settings: "Settings") -> None:
    mechanism = settings.kafka_sasl_mechanism.upper()
    has_login = settings.kafka_security_protocol.lower().startswith("sasl")
    require(
        bool(mechanism) or not has_login,
        "kafka_sasl_mechanism",
        "must be set, because kafka_security_protocol demands a login",
    )
    require(
        has_login or not mechanism,
        "kafka_security_protocol",
        "must be sasl_ssl or sasl_plaintext, because kafka_sasl_mechanism is set",
    )
    needed, others = (_TOKEN, _PASSWORD) if mechanism == _OAUTH else (_PASSWORD, _TOKEN)
    for name in needed if mechanism else ():
        require(
            bool(getattr(settings, name)), name, f"must be set for kafka_sasl_mechanism {mechanism}"
        )
    for name in (*others, "kafka_oauth_scope") if mechanism != _OAUTH else others:
        # Deployments may set the name and password of a user for every process.
        ignored = not mechanism and name in _PASSWORD
        require(
            ignored or not getattr(settings, name),
            name,
            f"must not be set for kafka_sasl_mechanism {mechanism or '(none)'}",
        )
    _check_token_url(settings.kafka_oauth_token_url)


def _check_token_url(url: str) -> None:
    require(
        not re.search(r"[@?#]", url),
        "kafka_oauth_token_url",
        "must not have @, ? or #: the client's name and secret have their own settings",
    )
    # The client's secret is sent there.
    require(not url or is_safe_url(url), "kafka_oauth_token_url", "must begin with https://")


def is_safe_url(url: str) -> bool:
    """Return whether nobody on the way can read or change what is exchanged with this URL."""
    pattern = r"https://.|http://(localhost|127\.0\.0\.1|\[::1\])[:/]"
    return re.match(pattern, url) is not None


def _check_options(settings: "Settings") -> None:
    if not settings.kafka_options:
        return
    try:
        parse_options(settings.kafka_options)
        fault = option_error(settings)
    except ValueError as error:
        fault = str(error)
    require(not fault, "kafka_options", fault)


def _check_http_server(settings: "Settings", service: str) -> None:
    name = f"{service}_url"
    urls = urls_of(getattr(settings, name))
    schemes = {url.partition("://")[0] for url in urls}
    for url in urls:
        fits = re.match(r"https?://[^,]+$", url) is not None
        require(fits, name, "must be an address like http://host:port, or several with commas")
    require(len(schemes) == 1, name, "must not have both http:// and https://")
    password, username = (getattr(settings, f"{service}_{one}") for one in ("password", "username"))
    require(
        bool(username) or not password,
        f"{service}_username",
        f"must be set, because {service}_password is",
    )
    location = getattr(settings, f"{service}_ca_location")
    if location:
        require(
            schemes == {"https"}, name, f"must begin with https://, as {service}_ca_location is set"
        )
        from runtime.configuration.tls_files import authority_fault

        fault = authority_fault(location)
        require(not fault, f"{service}_ca_location", fault)


def _check_api_key(settings: "Settings") -> None:
    key = settings.elasticsearch_api_key
    require(
        not (key and settings.elasticsearch_username),
        "elasticsearch_api_key",
        "must not be set together with elasticsearch_username: requests have one login",
    )
    require(
        re.fullmatch(r"[A-Za-z0-9+/=_-]*", key) is not None,
        "elasticsearch_api_key",
        "must be the key as Elasticsearch encodes it: letters, digits, +, /, =, _ and -",
    )
